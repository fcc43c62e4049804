//! Compares a program's imports with what the guest offers ([`mote_abi::wasi`]).

use mote_abi::{code::import, wasi};
use wasmparser::{ComponentExternName, component_types::ComponentEntityType, types::TypesRef};

/// The imports of a core module that Mote does not offer, as `module.name`.
pub(crate) fn missing_core(imports: &[(&str, &str, bool)]) -> Vec<String> {
    imports
        .iter()
        .filter(|(module, name, is_func)| {
            !(*is_func && *module == wasi::PREVIEW1_MODULE && wasi::PREVIEW1.contains(name))
        })
        .map(|(module, name, _)| format!("{module}.{name}"))
        .collect()
}

/// The imports of a component that Mote does not offer: interfaces with their version, or functions of interfaces
/// that it offers otherwise.
pub(crate) fn missing_component(imports: &[ComponentExternName<'_>], types: TypesRef<'_>) -> Vec<String> {
    let mut missing = Vec::new();
    for import in imports {
        match types.component_item_for_import(import.name).map(|item| item.ty) {
            // Types that a world names at its top level: an equality needs nothing from the host.
            Some(ComponentEntityType::Type { created, .. }) if !is_resource(created) => {}
            Some(ComponentEntityType::Instance(id)) => match wasi::interface(import.name) {
                Some(offered) => {
                    for (func, item) in &types[id].exports {
                        let is_func = matches!(item.ty, ComponentEntityType::Func(_));
                        if is_func && !offered.contains(&func.as_str()) {
                            missing.push(format!("{func} of {}", import.name));
                        }
                    }
                }
                None => missing.push(import.name.to_string()),
            },
            _ => missing.push(import.name.to_string()),
        }
    }
    missing
}

/// Bits of [`import`] for what a component imports.
pub(crate) fn helpers(imports: &[ComponentExternName<'_>]) -> u64 {
    let bit = |import: &ComponentExternName<'_>| match wasi::split_version(import.name).0 {
        "wasi:sockets/tcp-create-socket" | "wasi:sockets/udp-create-socket" => import::SOCKETS,
        "wasi:sockets/ip-name-lookup" => import::NAME_LOOKUP,
        "wasi:http/outgoing-handler" => import::HTTP,
        _ => 0,
    };
    imports.iter().map(bit).fold(0, |all, bit| all | bit)
}

fn is_resource(ty: wasmparser::component_types::ComponentAnyTypeId) -> bool {
    matches!(ty, wasmparser::component_types::ComponentAnyTypeId::Resource(_))
}
