//! Answers of name servers, and names and files that lookups begin with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mote_resolver::{Conf, Host, Lookup, Question, RecordType, Step, WireName, parse};

fuzz_target!(|data: &[u8]| {
    let name = WireName::new("www.example.com").expect("a name");
    for kind in [RecordType::A, RecordType::Aaaa] {
        let question = Question { id: 0x1234, name: name.clone(), kind };
        let _ = parse(data, &question);
        // The header and the question right, the rest as it comes.
        let mut answer = question.to_bytes();
        answer[2] |= 0x80;
        answer[7] = data.first().copied().unwrap_or(0);
        answer.extend(data);
        let _ = parse(&answer, &question);
    }
    let text = String::from_utf8_lossy(data);
    let (conf, name) = text.split_once('\0').unwrap_or((&text, "a.b"));
    let Ok(host) = Host::parse(name) else { return };
    let mut lookup = Lookup::new(Conf::parse(conf), conf, &host);
    let mut now = 0;
    // However hostile, a lookup comes to an end.
    for _ in 0..10_000 {
        match lookup.step(now, &mut || 7) {
            Step::Ask { .. } => {
                lookup.received(data);
                let mut answer = lookup.questions().next().unwrap_or_default();
                if answer.len() > 3 {
                    answer[2] |= 0x80 | data.get(1).copied().unwrap_or(0) & 2;
                    answer[3] |= data.first().copied().unwrap_or(0) & 15;
                }
                lookup.received(&answer);
            }
            Step::Wait { until } => now = until,
            Step::Done(_) => return,
        }
    }
    panic!("a lookup without end");
});
