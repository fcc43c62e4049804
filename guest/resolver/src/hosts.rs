//! hosts(5).

use alloc::vec::Vec;
use core::net::IpAddr;

/// Most addresses that one name may have.
const ADDRESSES_MAX: usize = 64;

/// The addresses that the file has for a name, in order.
pub(crate) fn find(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("");
        let mut words = line.split_ascii_whitespace();
        let Some(Ok(ip)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        if words.any(|word| word.eq_ignore_ascii_case(name))
            && !found.contains(&ip)
            && found.len() < ADDRESSES_MAX
        {
            found.push(ip);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_counts() {
        let text = "127.0.0.1 localhost me # other\n::1\tlocalhost\n\nnonsense me\n10.0.0.1 Me.example me\n";
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(find(text, "LOCALHOST"), [ip("127.0.0.1"), ip("::1")]);
        assert_eq!(find(text, "me."), [ip("127.0.0.1"), ip("10.0.0.1")]);
        assert_eq!(find(text, "other"), Vec::<IpAddr>::new());
    }
}
