pub(crate) fn run(
    _: &mut wasmtime::Store<super::Host>,
    _: &wasmtime::component::Component,
) -> wasmtime::Result<()> {
    Ok(())
}
