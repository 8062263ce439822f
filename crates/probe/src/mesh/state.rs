//! The state of this node: its neighbours, and what was measured of the paths to them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::durations::Durations;
use super::events::{Event, Events};
use super::identity::Identity;
use super::neighbour::{Neighbour, Outcome, Reach};
use super::report::{ClusterNode, NodeReport, Own};
use super::ring::Ring;
use super::turns::Ask;

/// Shared by all tasks that ask, and by the pages.
pub(crate) struct Mesh {
    asks: Vec<Ask>,
    state: Mutex<State>,
    durations: Durations,
    events: Events,
    doubt: Notify,
}

/// The state behind the lock, which is held only briefly.
#[derive(Default)]
pub(super) struct State {
    pub(super) own: Own,
    pub(super) ring: Ring,
    pub(super) neighbours: BTreeMap<IpAddr, Neighbour>,
    pub(super) lookups: Lookups,
}

/// The results of the look-ups.
#[derive(Clone, Debug, Default)]
pub(super) struct Lookups {
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) last_error: Option<String>,
    /// Why there is no neighbour, if there is none.
    pub(super) alone: Option<String>,
}

impl Mesh {
    /// A state in which only `own` is known.
    pub(super) fn new(own: Own, asks: Vec<Ask>, durations: Durations, events: Events) -> Self {
        let state = Mutex::new(State { own, ..State::default() });
        Self { asks, state, durations, events, doubt: Notify::new() }
    }

    /// The content of `/mesh.json`.
    pub(crate) fn report(&self) -> NodeReport {
        let state = self.lock();
        let (now, date) = (Instant::now(), Timestamp::now());
        let peers = state.neighbours.values().map(|neighbour| neighbour.report(now, date));
        NodeReport { own: state.own.clone(), peers: peers.collect() }
    }

    /// Every address on the ring.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        self.lock().ring.addresses().collect()
    }

    /// Why the last look-up failed, if it did.
    pub(crate) fn lookup_error(&self) -> Option<String> {
        self.lock().lookups.last_error.clone()
    }

    /// Why this node has no neighbours, if its last look-up found none.
    pub(crate) fn alone(&self) -> Option<String> {
        self.lock().lookups.alone.clone()
    }

    /// The latest durations of the smallest size that is downloaded, by neighbour.
    pub(crate) fn latest(&self) -> BTreeMap<IpAddr, Vec<u32>> {
        let state = self.lock();
        let latest = |neighbour: &Neighbour| neighbour.latest_of_smallest();
        state.neighbours.iter().map(|(address, neighbour)| (*address, latest(neighbour))).collect()
    }

    /// The report of this node for `/cluster.json`.
    pub(crate) fn own_node(&self) -> ClusterNode {
        self.report().into()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a neighbour is down, which may no longer exist.
    pub(super) async fn doubted(&self) {
        self.doubt.notified().await;
    }

    pub(super) fn reach(&self, address: IpAddr) -> Option<Reach> {
        self.lock().neighbours.get(&address).map(|neighbour| neighbour.reach)
    }

    pub(super) fn identify(&self, address: IpAddr, identity: Identity) {
        if let Some(neighbour) = self.lock().neighbours.get_mut(&address) {
            neighbour.identity = identity;
        }
    }

    pub(super) async fn note(&self, address: IpAddr, outcome: &Outcome) {
        let changed = {
            let mut state = self.lock();
            let own_zone = state.own.zone.clone();
            let Some(neighbour) = state.neighbours.get_mut(&address) else { return };
            let before = neighbour.reach;
            neighbour.note(outcome, Instant::now(), Timestamp::now());
            if let Ok(duration) = outcome.result {
                let zone = neighbour.identity.zone.as_deref();
                self.durations.observe(outcome.turn.ask, own_zone.as_deref(), zone, duration);
            }
            let error = outcome.result.as_ref().err().map(|failure| failure.text.clone());
            changed(before, neighbour, error)
        };
        self.tell(changed).await;
    }

    pub(super) async fn note_reach(&self, address: IpAddr, reach: Reach) {
        let changed = {
            let mut state = self.lock();
            let Some(neighbour) = state.neighbours.get_mut(&address) else { return };
            let before = neighbour.reach;
            neighbour.reach = reach;
            changed(before, neighbour, None)
        };
        self.tell(changed).await;
    }

    /// Stores the result of a look-up. Returns the addresses that are no longer neighbours, and the
    /// new ones.
    pub(super) async fn follow(&self, ring: Ring, wanted: &[IpAddr]) -> (Vec<IpAddr>, Vec<IpAddr>) {
        let (gone, new, events) = {
            let mut state = self.lock();
            state.ring = ring;
            let known: Vec<_> = state.neighbours.keys().copied().collect();
            let gone: Vec<_> =
                known.iter().copied().filter(|address| !wanted.contains(address)).collect();
            let new: Vec<_> =
                wanted.iter().copied().filter(|address| !known.contains(address)).collect();
            let mut events = Vec::new();
            for address in &gone {
                if let Some(neighbour) = state.neighbours.remove(address) {
                    events.push(event("forgotten", &neighbour, None));
                }
            }
            for address in &new {
                let neighbour = Neighbour::new(*address, &self.asks, Instant::now());
                events.push(event("found", &neighbour, None));
                state.neighbours.insert(*address, neighbour);
            }
            (gone, new, events)
        };
        for event in events {
            self.events.tell(&event).await;
        }
        (gone, new)
    }

    pub(super) async fn note_lookup(&self, error: Option<String>) {
        let changed = {
            let lookups = &mut self.lock().lookups;
            lookups.done += 1;
            lookups.failed += u64::from(error.is_some());
            let changed = lookups.last_error.is_some() != error.is_some();
            lookups.last_error = error.clone();
            changed
        };
        if changed {
            let name = if error.is_some() { "lookup-failed" } else { "lookup-succeeded" };
            self.events.tell(&Event { name, error, ..Event::default() }).await;
        }
    }

    pub(super) async fn note_alone(&self, alone: Option<String>) {
        let is_new = {
            let lookups = &mut self.lock().lookups;
            let is_new = alone.is_some() && lookups.alone != alone;
            lookups.alone.clone_from(&alone);
            is_new
        };
        if is_new {
            let event = Event { name: "no-neighbours", error: alone, ..Event::default() };
            self.events.tell(&event).await;
        }
    }

    async fn tell(&self, changed: Option<Event>) {
        if let Some(event) = changed {
            if event.name == Reach::Down.name() {
                self.doubt.notify_one();
            }
            self.events.tell(&event).await;
        }
    }
}

fn changed(before: Reach, neighbour: &Neighbour, error: Option<String>) -> Option<Event> {
    let after = neighbour.reach;
    (before.name() != after.name()).then(|| event(after.name(), neighbour, error))
}

fn event(name: &'static str, neighbour: &Neighbour, error: Option<String>) -> Event {
    let (node, zone) = (neighbour.identity.node.clone(), neighbour.identity.zone.clone());
    Event { name, node, zone, address: Some(neighbour.address), error }
}
