//! One lookup, from a name to its addresses: which server is asked what, and when to give up.
//!
//! As in the C library's resolver: hosts(5) first, then the names that the search list makes, each asked for at every
//! server in turn, `attempts` times. Both kinds of addresses are asked for at once.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::conf::{Conf, Server};
use crate::host::Host;
use crate::hosts;
use crate::message::{Outcome, Question, RecordType, WireName, parse};

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// Why there are no addresses. (`wasi:sockets/network.error-code`)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The name does not exist or has no addresses.
    NoName,
    /// No server could tell; it may be worth another try.
    Temporary,
    /// The servers will not tell.
    Permanent,
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// By UDP: each message is a datagram.
    Datagram,
    /// By TCP: each message has its length before it. (RFC 1035 4.2.2)
    Stream,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Let go of the last server, connect a new socket to this one and send it [`Lookup::questions`].
    Ask { server: Server, transport: Transport },
    /// Wait for an answer until this time.
    Wait { until: u64 },
    /// The end. In the order of the answers, IPv6 first.
    Done(Result<Vec<IpAddr>, Failure>),
}

/// A lookup under way. Times are nanoseconds of any clock that only goes forward.
#[derive(Debug)]
pub struct Lookup {
    conf: Conf,
    /// Names that are still to be tried, the next one last.
    names: Vec<WireName>,
    state: State,
    /// What is still unanswered for the name that is being tried.
    questions: Vec<Question>,
    found: Vec<IpAddr>,
    /// Rounds through the servers that were made for this name, and servers in this round.
    attempt: u32,
    server: usize,
    transport: Transport,
    /// Whether a server was in trouble, or refused, for any of the names.
    trouble: bool,
    refused: bool,
    /// Whether one did answer about this name, with nothing wrong.
    answered: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The next name is to be tried.
    NextName,
    /// The server at hand is to be asked.
    Ask,
    Waiting {
        until: u64,
    },
    Done(Result<Vec<IpAddr>, Failure>),
}

impl Lookup {
    /// A lookup of `host` by these settings and the text of hosts(5). What needs no server is done at once.
    #[must_use]
    pub fn new(conf: Conf, hosts: &str, host: &Host) -> Lookup {
        let mut lookup = Lookup {
            transport: first_transport(&conf),
            conf,
            names: Vec::new(),
            state: State::NextName,
            questions: Vec::new(),
            found: Vec::new(),
            attempt: 0,
            server: 0,
            trouble: false,
            refused: false,
            answered: false,
        };
        match host {
            Host::Address(ip) => lookup.state = State::Done(Ok([*ip].into())),
            Host::Name(name) => {
                let known = hosts::find(hosts, name);
                if !known.is_empty() {
                    lookup.state = State::Done(Ok(known));
                } else if is_localhost(name) {
                    let both = [Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()];
                    lookup.state = State::Done(Ok(both.into()));
                } else {
                    lookup.names = candidates(&lookup.conf, name);
                }
            }
        }
        lookup
    }

    /// What is to be done at the time `now`. `random` gives the ids of the questions.
    pub fn step(&mut self, now: u64, random: &mut dyn FnMut() -> u16) -> Step {
        loop {
            match &self.state {
                State::Done(result) => return Step::Done(result.clone()),
                State::NextName => match self.names.pop() {
                    Some(name) => self.begin(&name),
                    None => self.state = State::Done(Err(self.failure())),
                },
                State::Ask => {
                    let Some(&server) = self.conf.servers.get(self.server) else {
                        self.state = State::Done(Err(Failure::Temporary));
                        continue;
                    };
                    // Every time anew: an id that was once seen is of no use.
                    for question in &mut self.questions {
                        question.id = random();
                    }
                    let until = now.saturating_add(self.conf.timeout * SECOND);
                    self.state = State::Waiting { until };
                    let transport = self.transport;
                    return Step::Ask { server, transport };
                }
                State::Waiting { until } if now >= *until => {
                    self.trouble = true;
                    self.next_server();
                }
                State::Waiting { until } => return Step::Wait { until: *until },
            }
        }
    }

    /// The messages that the server is to be sent, each by itself.
    pub fn questions(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.questions.iter().map(Question::to_bytes)
    }

    /// The server that was asked last sent this. What is no answer to a question is passed over.
    pub fn received(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Waiting { .. }) {
            return;
        }
        let answer = self
            .questions
            .iter()
            .enumerate()
            .find_map(|(i, question)| Some((i, parse(bytes, question).ok()?)));
        let Some((index, outcome)) = answer else {
            return;
        };
        match outcome {
            Outcome::Addresses(found) => {
                let question = self.questions.remove(index);
                self.answered = true;
                match question.kind {
                    RecordType::Aaaa => drop(self.found.splice(0..0, found)),
                    RecordType::A => self.found.extend(found),
                }
                if self.questions.is_empty() {
                    self.name_is_done();
                }
            }
            // The name does not exist for either kind of address. (RFC 8020)
            Outcome::NoName => self.name_is_done(),
            Outcome::Truncated if self.transport == Transport::Datagram => {
                self.transport = Transport::Stream;
                self.state = State::Ask;
            }
            Outcome::Trouble | Outcome::Truncated => {
                self.trouble = true;
                self.next_server();
            }
            Outcome::Refused => {
                self.refused = true;
                self.next_server();
            }
        }
    }

    /// The server that was asked last cannot be reached, or has hung up.
    pub fn failed(&mut self) {
        if matches!(self.state, State::Waiting { .. }) {
            self.trouble = true;
            self.next_server();
        }
    }

    fn begin(&mut self, name: &WireName) {
        let kinds = [RecordType::Aaaa, RecordType::A];
        self.questions = kinds
            .into_iter()
            .filter(|kind| *kind == RecordType::A || !self.conf.no_aaaa)
            .map(|kind| Question {
                id: 0,
                name: name.clone(),
                kind,
            })
            .collect();
        (self.attempt, self.server, self.answered) = (0, 0, false);
        self.transport = first_transport(&self.conf);
        self.state = State::Ask;
    }

    fn name_is_done(&mut self) {
        self.questions.clear();
        self.state = if self.found.is_empty() {
            State::NextName
        } else {
            State::Done(Ok(core::mem::take(&mut self.found)))
        };
    }

    fn next_server(&mut self) {
        self.transport = first_transport(&self.conf);
        self.server += 1;
        if self.server >= self.conf.servers.len() {
            (self.server, self.attempt) = (0, self.attempt + 1);
        }
        if self.attempt < self.conf.attempts {
            self.state = State::Ask;
        } else if self.answered && !self.found.is_empty() {
            // One kind of address is better than none.
            self.name_is_done();
        } else if self.refused && !self.trouble {
            self.state = State::NextName;
        } else {
            // Servers that do not answer will not do so for the next name.
            self.state = State::Done(Err(Failure::Temporary));
        }
    }

    /// Why none of the names brought an address.
    fn failure(&self) -> Failure {
        if self.trouble {
            Failure::Temporary
        } else if self.refused {
            Failure::Permanent
        } else {
            Failure::NoName
        }
    }
}

fn first_transport(conf: &Conf) -> Transport {
    if conf.tcp {
        Transport::Stream
    } else {
        Transport::Datagram
    }
}

/// `localhost` and what is below it never leaves the machine. (RFC 6761 6.3)
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// The names to try, the first one last. (resolv.conf(5), `search` and `ndots`)
fn candidates(conf: &Conf, name: &str) -> Vec<WireName> {
    let mut names: Vec<String> = Vec::new();
    let dots = name.matches('.').count();
    if name.ends_with('.') {
        names.push(name.to_owned());
    } else {
        names.extend(conf.search.iter().map(|domain| format!("{name}.{domain}")));
        let at = if dots >= conf.ndots { 0 } else { names.len() };
        names.insert(at, name.to_owned());
    }
    names
        .iter()
        .rev()
        .filter_map(|name| WireName::new(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOMEWHERE: [u8; 4] = [192, 0, 2, 1];

    fn lookup(conf: &str, name: &str) -> Lookup {
        Lookup::new(Conf::parse(conf), "", &Host::parse(name).unwrap())
    }

    fn step(lookup: &mut Lookup, now: u64) -> Step {
        let mut id = 0;
        lookup.step(now, &mut || {
            id += 1;
            id
        })
    }

    /// The questions under way, as text, for instance `28 a.b`.
    fn asked(lookup: &Lookup) -> Vec<String> {
        let text = |question: Vec<u8>| {
            let mut at = 12;
            let mut labels = Vec::new();
            while question[at] > 0 {
                let end = at + 1 + usize::from(question[at]);
                labels.push(core::str::from_utf8(&question[at + 1..end]).unwrap().to_owned());
                at = end;
            }
            format!("{} {}", question[at + 2], labels.join("."))
        };
        lookup.questions().map(text).collect()
    }

    /// Answers the first open question with a response code and, if given, an address.
    fn answer(lookup: &mut Lookup, flags: u8, ip: Option<&[u8]>) {
        let mut bytes = lookup.questions().next().unwrap();
        bytes[2] |= 0x80 | ((flags >> 4) & 2);
        bytes[3] = flags & 15;
        if let Some(ip) = ip {
            bytes[7] = 1;
            let kind = if ip.len() == 4 { 1 } else { 28 };
            bytes.extend([
                0xc0,
                12,
                0,
                kind,
                0,
                1,
                0,
                0,
                0,
                1,
                0,
                u8::try_from(ip.len()).unwrap(),
            ]);
            bytes.extend(ip);
        }
        lookup.received(&bytes);
    }

    #[test]
    fn what_needs_no_server() {
        let hosts = "10.0.0.9 me";
        for (name, ip) in [("1.2.3.4", "1.2.3.4"), ("me", "10.0.0.9"), ("a.localhost", "::1")] {
            let mut lookup = Lookup::new(Conf::parse(""), hosts, &Host::parse(name).unwrap());
            let Step::Done(Ok(found)) = step(&mut lookup, 0) else {
                panic!("{name}")
            };
            assert_eq!(found[0], ip.parse::<IpAddr>().unwrap());
        }
    }

    #[test]
    fn both_kinds_are_asked_for_and_ipv6_goes_first() {
        let mut l = lookup("nameserver 10.0.0.1", "a.b");
        let Step::Ask { server, transport } = step(&mut l, 0) else {
            panic!()
        };
        assert_eq!(server.ip, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(transport, Transport::Datagram);
        assert_eq!(asked(&l), ["28 a.b", "1 a.b"]);
        assert_eq!(step(&mut l, 7), Step::Wait { until: 5 * SECOND });
        answer(&mut l, 0, Some(&[1; 16]));
        assert_eq!(asked(&l), ["1 a.b"]);
        answer(&mut l, 0, Some(&SOMEWHERE));
        let found = alloc::vec![IpAddr::from([1_u8; 16]), IpAddr::from(SOMEWHERE)];
        assert_eq!(step(&mut l, 8), Step::Done(Ok(found)));
    }

    #[test]
    fn search_lists() {
        let conf = "search x.y z\noptions ndots:2 no-aaaa";
        let mut l = lookup(conf, "a.b");
        for name in ["1 a.b.x.y", "1 a.b.z", "1 a.b"] {
            assert!(matches!(step(&mut l, 0), Step::Ask { .. }));
            assert_eq!(asked(&l), [name]);
            answer(&mut l, 3, None);
        }
        assert_eq!(step(&mut l, 0), Step::Done(Err(Failure::NoName)));
        let mut l = lookup(conf, "a.b.c");
        step(&mut l, 0);
        assert_eq!(asked(&l), ["1 a.b.c"]);
        let mut l = lookup(conf, "a.");
        step(&mut l, 0);
        assert_eq!(asked(&l), ["1 a"]);
        answer(&mut l, 0, None);
        assert_eq!(step(&mut l, 0), Step::Done(Err(Failure::NoName)));
    }

    #[test]
    fn every_server_is_asked_before_it_is_given_up() {
        let mut l = lookup("nameserver 10.0.0.1\nnameserver 10.0.0.2\noptions no-aaaa", "a");
        let mut now = 0;
        for last in [1, 2, 1, 2] {
            let Step::Ask { server, .. } = step(&mut l, now) else {
                panic!()
            };
            assert_eq!(server.ip, IpAddr::from([10, 0, 0, last]));
            match last {
                1 => now += 5 * SECOND,
                _ => answer(&mut l, 2, None),
            }
        }
        assert_eq!(step(&mut l, now), Step::Done(Err(Failure::Temporary)));
        let mut l = lookup("options attempts:1", "a");
        step(&mut l, 0);
        l.failed();
        assert_eq!(step(&mut l, 0), Step::Done(Err(Failure::Temporary)));
        let mut l = lookup("options attempts:1", "a");
        step(&mut l, 0);
        answer(&mut l, 5, None);
        assert_eq!(step(&mut l, 0), Step::Done(Err(Failure::Permanent)));
    }

    #[test]
    fn one_kind_of_address_is_better_than_none() {
        let mut l = lookup("options attempts:1", "a");
        step(&mut l, 0);
        answer(&mut l, 0, Some(&[1; 16]));
        assert!(matches!(step(&mut l, 5 * SECOND), Step::Done(Ok(_))));
    }

    #[test]
    fn a_truncated_answer_is_asked_for_again_by_tcp() {
        let mut l = lookup("options no-aaaa", "a");
        step(&mut l, 0);
        answer(&mut l, 0x20, None);
        let Step::Ask { transport, .. } = step(&mut l, 0) else {
            panic!()
        };
        assert_eq!(transport, Transport::Stream);
        answer(&mut l, 0, Some(&SOMEWHERE));
        assert!(matches!(step(&mut l, 0), Step::Done(Ok(_))));
    }

    #[test]
    fn a_name_that_no_message_can_carry_does_not_exist() {
        let mut l = lookup("", "a..b");
        assert_eq!(step(&mut l, 0), Step::Done(Err(Failure::NoName)));
    }
}
