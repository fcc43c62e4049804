//! resolv.conf(5).

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

/// Most servers that are asked. (MAXNS of resolv.conf(5))
const SERVERS_MAX: usize = 3;
/// Most domains that are searched.
const SEARCH_MAX: usize = 16;

/// A server that is asked, on [`crate::PORT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    pub ip: IpAddr,
    /// Index of the interface of a link-local address, 0 if none is named.
    pub scope: u32,
}

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conf {
    pub servers: Vec<Server>,
    pub search: Vec<String>,
    /// A name with at least so many dots is first tried as it is.
    pub ndots: usize,
    /// Seconds that a server is waited for.
    pub timeout: u64,
    /// How often all servers are asked.
    pub attempts: u32,
    /// Ask by TCP only.
    pub tcp: bool,
    /// Ask for IPv4 addresses only.
    pub no_aaaa: bool,
}

impl Default for Conf {
    fn default() -> Conf {
        Conf {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: 5,
            attempts: 2,
            tcp: false,
            no_aaaa: false,
        }
    }
}

impl Conf {
    /// Reads a resolv.conf(5). What is not understood is passed over, as everywhere.
    #[must_use]
    pub fn parse(text: &str) -> Conf {
        let mut conf = Conf::default();
        for line in text.lines() {
            // Comments begin in the first column. (resolv.conf(5))
            if line.starts_with(['#', ';']) {
                continue;
            }
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(server);
                    if let Some(server) = server.filter(|_| conf.servers.len() < SERVERS_MAX) {
                        conf.servers.push(server);
                    }
                }
                // The last of these lines counts.
                Some("search") => conf.search = words.filter_map(domain).take(SEARCH_MAX).collect(),
                Some("domain") => conf.search = words.take(1).filter_map(domain).collect(),
                Some("options") => words.for_each(|option| conf.option(option)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push(Server {
                ip: Ipv4Addr::LOCALHOST.into(),
                scope: 0,
            });
        }
        conf
    }

    fn option(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        let number = value.parse::<u32>().ok();
        match (name, number) {
            // The limits are those of resolv.conf(5).
            ("ndots", Some(n)) => self.ndots = usize::try_from(n.min(15)).unwrap_or(15),
            ("timeout", Some(n)) => self.timeout = u64::from(n.clamp(1, 30)),
            ("attempts", Some(n)) => self.attempts = n.clamp(1, 5),
            ("use-vc", None) => self.tcp = true,
            ("no-aaaa", None) => self.no_aaaa = true,
            _ => {}
        }
    }
}

fn server(text: &str) -> Option<Server> {
    let (ip, scope) = match text.split_once('%') {
        // Interfaces can be told by number only: nobody here knows their names.
        Some((ip, scope)) => (ip, scope.parse().ok()?),
        None => (text, 0),
    };
    Some(Server {
        ip: ip.parse().ok()?,
        scope,
    })
}

/// A domain to search, without the dot at its end. The root alone adds nothing to a name.
fn domain(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    (!text.is_empty()).then(|| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_file() {
        let conf = Conf::parse(
            "search ns.svc.cluster.local svc.cluster.local cluster.local.\nnameserver 10.96.0.10\noptions ndots:5\n",
        );
        assert_eq!(conf.servers[0].ip, IpAddr::from([10, 96, 0, 10]));
        assert_eq!(
            conf.search,
            ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local"]
        );
        assert_eq!((conf.ndots, conf.timeout, conf.attempts), (5, 5, 2));
    }

    #[test]
    fn limits_and_nonsense() {
        let conf = Conf::parse(
            "# nameserver 1.1.1.1\n; x\nnameserver\nnameserver what\nnameserver fe80::1%3\nnameserver ::1\n\
             nameserver 9.9.9.9\nnameserver 8.8.8.8\nsearch a b\ndomain . c\n\
             options timeout:0 attempts:99 ndots:99 ndots:x use-vc no-aaaa unknown rotate",
        );
        assert_eq!(conf.servers.len(), 3);
        assert_eq!(conf.servers[0].scope, 3);
        assert_eq!(conf.search, Vec::<String>::new());
        assert_eq!((conf.ndots, conf.timeout, conf.attempts), (15, 1, 5));
        assert!(conf.tcp && conf.no_aaaa);
    }

    #[test]
    fn without_a_server_this_machine_is_asked() {
        let conf = Conf::parse("");
        assert_eq!(conf.servers[0].ip, IpAddr::from([127, 0, 0, 1]));
    }
}
