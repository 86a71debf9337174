//! What is on a bus: asks its driver, makes nodes for what is new, removes what is gone.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use wdf_sys::wdm::constants::*;

use super::engine::Guard;
use super::node::{self, Description, Node, Stage};
use super::{irps, remove, start};
use crate::object::ObjectRef;

const CAPABILITY_UNIQUE_ID: u32 = 1 << 6;
/// Deepest device tree: a bus driver that reports a bus below itself for ever ends here.
const MAX_DEPTH: usize = 16;

/// Brings the nodes below a started device up to date.
pub(crate) fn bus(guard: &Guard, bus: &Arc<Node>) {
    if bus.stage() != Stage::Started || depth(bus) > MAX_DEPTH {
        return;
    }
    let Some(reported) = irps::query_relations(bus.pdo(), BUS_RELATIONS) else { return };
    let gone: Vec<Arc<Node>> = {
        let state = bus.state.lock();
        let is_reported = |child: &Arc<Node>| reported.iter().any(|pdo| pdo.body().cast() == child.pdo());
        state.children.iter().filter(|child| !is_reported(child)).cloned().collect()
    };
    for child in gone {
        remove::surprise(guard, &child);
    }
    let is_waiting = |path: &str| {
        let state = bus.state.lock();
        state.children.iter().any(|child| child.instance_path == path)
    };
    let mut new = Vec::new();
    for pdo in reported {
        // SAFETY: the bus returned a reference to the device.
        if unsafe { node::of(pdo.body().cast()) }.is_none() {
            let description = describe(&pdo, bus);
            if is_waiting(&description.instance_path) {
                // The bus is looked at again when the last handle of the old device has been closed.
                crate::log!("{}: new, while the one before is still open: it has to wait", description.instance_path);
                continue;
            }
            let child = Node::create(pdo, Some(bus.clone()), description);
            bus.state.lock().children.push(child.clone());
            new.push(child);
        }
    }
    for child in new {
        start::configure(guard, &child);
    }
}

/// Nodes above a node.
fn depth(node: &Arc<Node>) -> usize {
    core::iter::successors(node.parent.as_ref(), |parent| parent.parent.as_ref()).take(MAX_DEPTH + 1).count()
}

/// Asks a new device who it is.
fn describe(pdo: &ObjectRef, parent: &Arc<Node>) -> Description {
    let device = pdo.body().cast();
    let one = |kind| irps::query_id(device, kind, false).into_iter().next().map(|id| valid_id(&id)).unwrap_or_default();
    let device_id = one(BUS_QUERY_DEVICE_ID);
    let capabilities = irps::query_capabilities(device);
    let is_unique = capabilities.is_some_and(|capabilities| capabilities.Flags & CAPABILITY_UNIQUE_ID != 0);
    let mut instance_id = one(BUS_QUERY_INSTANCE_ID);
    if !is_unique {
        instance_id = format!("{}&{:x}&0&{instance_id}", depth(parent) + 2, hash(&parent.instance_path));
    }
    let list = |kind| irps::query_id(device, kind, true).iter().map(|id| valid_id(id)).collect();
    Description {
        instance_path: format!("{device_id}\\{instance_id}"),
        hardware_ids: list(BUS_QUERY_HARDWARE_IDS),
        compatible_ids: list(BUS_QUERY_COMPATIBLE_IDS),
        description: irps::query_text(device, 0),
        location: irps::query_text(device, 1),
    }
}

/// An id with characters that no id may have replaced, as Windows does with blanks.
fn valid_id(id: &str) -> String {
    id.chars().map(|character| if matches!(character, '!'..='~') && character != ',' { character } else { '_' }).collect()
}

/// A number for a parent's path, so that equal devices on different buses have different instance ids.
fn hash(path: &str) -> u32 {
    path.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte.to_ascii_uppercase())).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_no_id_may_have_are_replaced() {
        assert_eq!(valid_id("PCI\\VEN_1AF4 ,\u{7f}é"), "PCI\\VEN_1AF4____");
    }

    #[test]
    fn equal_paths_hash_equal_whatever_their_case() {
        assert_eq!(hash("ACPI\\PNP0A08\\0"), hash("acpi\\pnp0a08\\0"));
        assert_ne!(hash("A"), hash("B"));
    }
}
