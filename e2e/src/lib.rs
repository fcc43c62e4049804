//! End-to-end tests: a private containerd, images built on the spot, and the two ways that lead to a Wasm pod: `ctr`
//! and the kubelet's CRI. Nothing here stands in for containerd, and what a test starts it also looks for afterwards.
//!
//! What is needed comes by `make install-deps` (containerd, CNI plugins, compilers for guests) and `make build`.

pub mod chart;
pub mod cli;
pub mod cluster;
pub mod compare;
pub mod containerd;
pub mod cri;
pub mod ctr;
pub mod features;
pub mod figures;
pub mod images;
pub mod kvm;
pub mod leaks;
pub mod native;
pub mod paths;
pub mod pod;
pub mod recovery;
pub mod serve;
pub mod shim;
pub mod throughput;
pub mod traps;
pub mod vmm;
pub mod words;
