//! A small DNS server: it knows one name, and may be silent, truncate answers, or be wrong.

// Every test file is a separate program and uses only a part of this module. A failure here is a
// failure of the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

/// How the server behaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Zone {
    /// The only name that exists, without a trailing dot.
    pub(crate) name: String,
    /// Its addresses, of both families.
    pub(crate) addresses: Vec<IpAddr>,
    /// Nothing is answered.
    pub(crate) is_silent: bool,
    /// Every question is answered with SERVFAIL.
    pub(crate) fails: bool,
    /// Before each answer, it sends a datagram with another id and other addresses.
    pub(crate) is_forged: bool,
}

/// A question that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) is_v6: bool,
    pub(crate) over_tcp: bool,
    pub(crate) answer_bytes: usize,
}

/// A running server; it ends with the test.
#[derive(Clone)]
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl NameServer {
    pub(crate) fn start(address: SocketAddr, zone: Zone) -> Self {
        // Both need the same port, which another program may hold for one of them.
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind(address).unwrap();
            match UdpSocket::bind(tcp.local_addr().unwrap()) {
                Ok(udp) => break (udp, tcp),
                Err(error) => assert_eq!(address.port(), 0, "{error}"),
            }
        };
        let server = Self {
            address: tcp.local_addr().unwrap(),
            zone: Arc::new(Mutex::new(zone)),
            asked: Arc::default(),
        };
        let over_udp = server.clone();
        std::thread::spawn(move || over_udp.serve_udp(&udp));
        let over_tcp = server.clone();
        std::thread::spawn(move || over_tcp.serve_tcp(&tcp));
        server
    }

    pub(crate) fn local(zone: Zone) -> Self {
        Self::start(SocketAddr::from(([127, 0, 0, 1], 0)), zone)
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.zone.lock().unwrap());
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            if self.zone.lock().unwrap().is_forged {
                let mut forged = self.answer(&buffer[..length], usize::MAX, false).unwrap();
                forged[0] ^= 1;
                let _ = socket.send_to(&forged, from);
            }
            let room = Packet::parse(&buffer[..length])
                .ok()
                .and_then(|packet| packet.opt().map(|opt| usize::from(opt.udp_packet_size)))
                .unwrap_or(512);
            if let Some(answer) = self.answer(&buffer[..length], room, false) {
                let _ = socket.send_to(&answer, from);
            }
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let server = self.clone();
            std::thread::spawn(move || {
                let mut length = [0; 2];
                stream.read_exact(&mut length).ok()?;
                let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question).ok()?;
                let answer = server.answer(&question, usize::MAX, true)?;
                let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length[..], &answer].concat()).ok()
            });
        }
    }

    fn answer(&self, question: &[u8], room: usize, over_tcp: bool) -> Option<Vec<u8>> {
        let zone = self.zone.lock().unwrap().clone();
        let packet = Packet::parse(question).unwrap();
        let asked = packet.questions[0].clone();
        let is_v6 = asked.qtype == QTYPE::TYPE(TYPE::AAAA);
        let name = asked.qname.to_string();
        let mut answer = Packet::new_reply(packet.id());
        answer.questions.push(asked.clone());
        if zone.fails {
            *answer.rcode_mut() = RCODE::ServerFailure;
        } else if !name.eq_ignore_ascii_case(&zone.name) {
            *answer.rcode_mut() = RCODE::NameError;
        }
        if name.eq_ignore_ascii_case(&zone.name) && !zone.fails {
            let records = zone.addresses.iter().filter(|address| address.is_ipv6() == is_v6);
            answer.answers.extend(records.map(|address| {
                let data = match address {
                    IpAddr::V4(address) => RData::A(A { address: (*address).into() }),
                    IpAddr::V6(address) => RData::AAAA(AAAA { address: (*address).into() }),
                };
                ResourceRecord::new(asked.qname.clone(), CLASS::IN, 5, data)
            }));
        }
        let mut bytes = answer.build_bytes_vec_compressed().unwrap();
        if bytes.len() > room {
            answer.answers.clear();
            answer.set_flags(PacketFlag::TRUNCATION);
            bytes = answer.build_bytes_vec_compressed().unwrap();
        }
        let answer_bytes = bytes.len();
        self.asked.lock().unwrap().push(Asked { name, is_v6, over_tcp, answer_bytes });
        (!zone.is_silent).then_some(bytes)
    }
}
