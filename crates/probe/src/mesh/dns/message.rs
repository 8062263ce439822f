//! Writes queries and parses answers. Must not do I/O.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

use super::DnsError;

/// The record type of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
}

/// The content of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// All addresses; empty if the name does not exist or has no address of this kind.
    Addresses(Vec<IpAddr>),
    /// The answer did not fit: TCP returns all of it.
    Truncated,
    /// The answer to another question.
    Foreign,
}

/// Writes the question for the records of one `kind` of `name`.
///
/// # Errors
///
/// A name with an empty label, or one that is too long.
pub fn query(id: u16, name: &str, kind: Kind) -> Result<Vec<u8>, DnsError> {
    let refuse = |_| DnsError::Name(name.to_owned());
    let absolute = name.trim_end_matches('.');
    // The library omits empty labels, which would change the name.
    if absolute.split('.').any(str::is_empty) {
        return Err(DnsError::Name(name.to_owned()));
    }
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let question = Question::new(
        Name::new(absolute).map_err(refuse)?,
        QTYPE::TYPE(kind.record_type()),
        QCLASS::CLASS(CLASS::IN),
        false,
    );
    packet.questions.push(question);
    let opt = OPT { opt_codes: Vec::new(), udp_packet_size: UDP_BYTES_MAX, version: 0 };
    *packet.opt_mut() = Some(opt);
    packet.build_bytes_vec().map_err(refuse)
}

/// Parses the answer to the query with this `id`, `name` and `kind`.
///
/// # Errors
///
/// Bytes that are no DNS message, or a response code by which the server reports a failure.
pub fn read(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Result<Reply, DnsError> {
    // A truncated message may end within a record, so its flag is read before its records.
    let [high, low, flags, ..] = *bytes else { return Err(DnsError::Malformed) };
    if u16::from_be_bytes([high, low]) != id || flags & RESPONSE_BIT == 0 {
        return Ok(Reply::Foreign);
    }
    if flags & TRUNCATED_BIT != 0 {
        return Ok(Reply::Truncated);
    }
    let packet = Packet::parse(bytes).map_err(|_| DnsError::Malformed)?;
    let asked = |question: &Question<'_>| {
        is_same(&question.qname, name.trim_end_matches('.'))
            && question.qtype == QTYPE::TYPE(kind.record_type())
    };
    if !packet.questions.iter().all(asked) {
        return Ok(Reply::Foreign);
    }
    match packet.rcode() {
        RCODE::NoError => Ok(Reply::Addresses(addresses(&packet, name, kind))),
        RCODE::NameError => Ok(Reply::Addresses(Vec::new())),
        RCODE::ServerFailure => Err(DnsError::Refused("SERVFAIL")),
        RCODE::Refused => Err(DnsError::Refused("REFUSED")),
        RCODE::FormatError => Err(DnsError::Refused("FORMERR")),
        RCODE::NotImplemented => Err(DnsError::Refused("NOTIMP")),
        _ => Err(DnsError::Refused("an unknown code")),
    }
}

impl Kind {
    fn record_type(self) -> TYPE {
        match self {
            Self::A => TYPE::A,
            Self::Aaaa => TYPE::AAAA,
        }
    }
}

/// The addresses of `name` and of its aliases.
fn addresses(packet: &Packet<'_>, name: &str, kind: Kind) -> Vec<IpAddr> {
    let mut names = vec![name.trim_end_matches('.').to_owned()];
    let mut found = Vec::with_capacity(packet.answers.len());
    for record in &packet.answers {
        if !names.iter().any(|name| is_same(&record.name, name)) {
            continue;
        }
        match (&record.rdata, kind) {
            (RData::CNAME(alias), _) if names.len() < ALIASES_MAX => {
                names.push(alias.0.to_string())
            }
            (RData::A(record), Kind::A) => found.push(Ipv4Addr::from(record.address).into()),
            (RData::AAAA(record), Kind::Aaaa) => {
                found.push(Ipv6Addr::from(record.address).into());
            }
            _ => {}
        }
    }
    found
}

/// RFC 4343: names are compared without regard to case.
fn is_same(one: &Name<'_>, other: &str) -> bool {
    one.to_string().eq_ignore_ascii_case(other)
}

// RFC 1035 section 4.1.1, in the third byte.
const RESPONSE_BIT: u8 = 0x80;
const TRUNCATED_BIT: u8 = 0x02;
/// The largest datagram that passes everywhere without fragmentation (DNS flag day 2020).
pub(super) const UDP_BYTES_MAX: u16 = 1232;
/// A chain of aliases is short; a very long one would only cost time.
const ALIASES_MAX: usize = 9;

#[cfg(test)]
mod tests {
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, AAAA, CNAME};

    use super::*;

    const NAME: &str = "mesh.example";

    fn answer(build: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
        let mut packet = Packet::new_reply(7);
        packet.questions.push(Question::new(
            Name::new_unchecked(NAME),
            QTYPE::TYPE(TYPE::A),
            QCLASS::CLASS(CLASS::IN),
            false,
        ));
        build(&mut packet);
        packet.build_bytes_vec_compressed().unwrap()
    }

    fn record<'a>(name: &'a str, data: RData<'a>) -> ResourceRecord<'a> {
        ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, 5, data)
    }

    fn a(number: u32) -> RData<'static> {
        RData::A(A { address: 0x0a00_0000 + number })
    }

    #[test]
    fn asks_for_one_name_and_says_how_large_a_datagram_may_be() {
        let bytes = query(258, "mesh.example.", Kind::Aaaa).unwrap();
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!((packet.id(), packet.questions.len()), (258, 1));
        assert!(packet.has_flags(PacketFlag::RECURSION_DESIRED));
        assert_eq!(packet.questions[0].qname.to_string(), NAME);
        assert_eq!(packet.questions[0].qtype, QTYPE::TYPE(TYPE::AAAA));
        assert_eq!(packet.opt().unwrap().udp_packet_size, 1232);
    }

    #[test]
    fn rejects_names_that_dns_cannot_represent() {
        let label = "a".repeat(64);
        let long = ["a".repeat(63).as_str(); 4].join(".");
        for name in ["", ".", ".a", "a..b", &label, &long] {
            assert!(query(1, name, Kind::A).is_err(), "{name}");
        }
        assert!(query(1, &"a".repeat(63), Kind::A).is_ok());
    }

    #[test]
    fn finds_a_thousand_addresses_in_one_message() {
        let bytes = answer(|packet| {
            packet.answers.extend((0..1000).map(|number| record(NAME, a(number))));
        });
        let Reply::Addresses(found) = read(&bytes, 7, NAME, Kind::A).unwrap() else { panic!() };
        assert_eq!(found.len(), 1000);
        assert_eq!(found[999], IpAddr::from([10, 0, 3, 231]));
    }

    #[test]
    fn follows_aliases_and_leaves_out_records_of_other_names_and_kinds() {
        let bytes = answer(|packet| {
            let alias = RData::CNAME(CNAME(Name::new_unchecked("other.example")));
            packet.answers.push(record("MESH.example", alias));
            packet.answers.push(record("Other.Example", a(1)));
            packet.answers.push(record("foreign.example", a(2)));
            packet.answers.push(record(NAME, RData::AAAA(AAAA { address: 1 })));
        });
        let one = Reply::Addresses(vec![IpAddr::from([10, 0, 0, 1])]);
        assert_eq!(read(&bytes, 7, NAME, Kind::A).unwrap(), one);
    }

    #[test]
    fn a_name_that_does_not_exist_has_no_addresses_and_a_failure_is_an_error() {
        let with = |code| answer(|packet| *packet.rcode_mut() = code);
        let none = Reply::Addresses(Vec::new());
        assert_eq!(read(&with(RCODE::NameError), 7, NAME, Kind::A).unwrap(), none);
        assert_eq!(read(&with(RCODE::NoError), 7, NAME, Kind::A).unwrap(), none);
        for code in [RCODE::ServerFailure, RCODE::Refused, RCODE::FormatError] {
            assert!(read(&with(code), 7, NAME, Kind::A).is_err());
        }
    }

    #[test]
    fn distinguishes_truncated_foreign_and_malformed_messages() {
        let truncated = answer(|packet| packet.set_flags(PacketFlag::TRUNCATION));
        // The message ends within the question, as that of some servers does.
        assert_eq!(read(&truncated[..14], 7, NAME, Kind::A).unwrap(), Reply::Truncated);
        let whole = answer(|packet| packet.answers.push(record(NAME, a(1))));
        assert_eq!(read(&whole, 8, NAME, Kind::A).unwrap(), Reply::Foreign);
        assert_eq!(read(&whole, 7, "mesh.exampl", Kind::A).unwrap(), Reply::Foreign);
        assert_eq!(read(&whole, 7, NAME, Kind::Aaaa).unwrap(), Reply::Foreign);
        let own_query = query(7, NAME, Kind::A).unwrap();
        assert_eq!(read(&own_query, 7, NAME, Kind::A).unwrap(), Reply::Foreign);
        for length in [0, 2, 11, whole.len() - 1] {
            assert!(read(&whole[..length], 7, NAME, Kind::A).is_err(), "{length}");
        }
    }
}
