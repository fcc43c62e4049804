//! `wasi:http/types.fields`.

use alloc::string::String;
use alloc::vec::Vec;

use wasmtime::Result;
use wasmtime::component::{LinkerInstance, Resource};

use super::types::{HeaderError, changed};
use crate::runtime::size;
use crate::wasi::Host;
use crate::wasi::http::Fields;
use crate::wasi::p2::Cx;

type Changed<T> = Result<(core::result::Result<T, HeaderError>,)>;
type Borrowed = Resource<Fields>;

pub(super) fn function(at: &mut LinkerInstance<'_, Host>, name: &str) -> Result<bool> {
    match name {
        "[constructor]fields" => at.func_wrap(name, |mut cx: Cx<'_>, (): ()| {
            let fields = Fields::new(most(cx.data()));
            Ok((cx.data_mut().table.push(fields)?,))
        })?,
        "[static]fields.from-list" => at.func_wrap(name, from_list)?,
        "[method]fields.get" => at.func_wrap(name, |cx: Cx<'_>, (fields, name): (Borrowed, String)| {
            Ok((cx.data().table.get(&fields)?.get(&name),))
        })?,
        "[method]fields.has" => at.func_wrap(name, |cx: Cx<'_>, (fields, name): (Borrowed, String)| {
            Ok((cx.data().table.get(&fields)?.has(&name),))
        })?,
        "[method]fields.set" => at.func_wrap(name, set)?,
        "[method]fields.delete" => at.func_wrap(name, delete)?,
        "[method]fields.append" => at.func_wrap(name, append)?,
        "[method]fields.entries" => at.func_wrap(name, |cx: Cx<'_>, (fields,): (Borrowed,)| {
            Ok((cx.data().table.get(&fields)?.list().clone(),))
        })?,
        "[method]fields.clone" => at.func_wrap(name, clone)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn from_list(mut cx: Cx<'_>, (entries,): (Vec<(String, Vec<u8>)>,)) -> Changed<Resource<Fields>> {
    let mut fields = Fields::new(most(cx.data()));
    for (name, value) in entries {
        if let Err(error) = changed(fields.append(name, value))? {
            return Ok((Err(error),));
        }
    }
    Ok((Ok(cx.data_mut().table.push(fields)?),))
}

fn set(mut cx: Cx<'_>, (fields, name, values): (Borrowed, String, Vec<Vec<u8>>)) -> Changed<()> {
    let fields = cx.data_mut().table.get_mut(&fields)?;
    Ok((changed(fields.set(name, values))?,))
}

fn delete(mut cx: Cx<'_>, (fields, name): (Borrowed, String)) -> Changed<()> {
    let fields = cx.data_mut().table.get_mut(&fields)?;
    Ok((changed(fields.delete(name))?,))
}

fn append(mut cx: Cx<'_>, (fields, name, value): (Borrowed, String, Vec<u8>)) -> Changed<()> {
    let fields = cx.data_mut().table.get_mut(&fields)?;
    Ok((changed(fields.append(name, value))?,))
}

fn clone(mut cx: Cx<'_>, (fields,): (Borrowed,)) -> Result<(Resource<Fields>,)> {
    let copy = cx.data().table.get(&fields)?.copy(most(cx.data()));
    Ok((cx.data_mut().table.push(copy)?,))
}

fn most(host: &Host) -> usize {
    size(host.limits.http_fields)
}
