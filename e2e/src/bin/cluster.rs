//! `make cluster`, `make cluster-down`, `make samples`; the first process of a node, and of
//! the sandboxes of its Linux pods.

use std::env;
use std::path::Path;
use std::thread;

use anyhow::{Result, bail};
use mote_e2e::cluster::node::{Life, Node, PAUSE};
use mote_e2e::cluster::plan::Plan;
use mote_e2e::cluster::{self, init, mote, samples};

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["up"] => up(),
        ["down"] => Node::find(&cluster::dir())?.stop(),
        ["samples", dir] => samples::write(Path::new(dir)),
        ["init", dir, id] => match init::main(&Plan::new(Path::new(dir), id.parse()?))? {},
        [PAUSE] => loop {
            thread::park();
        },
        _ => bail!("usage: cluster up | down | samples DIR"),
    }
}

fn up() -> Result<()> {
    let node = Node::start(&env::current_exe()?, &cluster::dir(), Life::ItsOwn)?;
    for image in samples::images()? {
        node.import(&image)?;
    }
    mote::install(&node)?;
    println!("The node is ready, with Mote and the images of manifests/ on it:\n");
    println!(
        "    export KUBECONFIG={}",
        node.plan.kubeconfig("admin").display()
    );
    println!("    kubectl apply -f manifests/\n");
    println!("`make cluster-down` takes all of it away.");
    Ok(())
}
