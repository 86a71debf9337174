//! `RtlXxxGenericTable` and `RtlXxxGenericTableAvl`: ordered tables whose nodes lie in the driver's memory and whose order is the driver's.
//!
//! [`splay`] is the older kind, [`avl`] the one that stays balanced. Both are binary trees of nodes that begin with three links; what they
//! share is here. A table is its driver's: whoever calls holds the driver's lock, and these functions lock nothing.

pub(crate) mod avl;
pub(crate) mod splay;
#[cfg(test)]
mod tests;

use core::ffi::c_void;
use core::ptr::null_mut;

/// What every node begins with, `RTL_SPLAY_LINKS`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Links {
    pub(crate) parent: *mut Links,
    pub(crate) left: *mut Links,
    pub(crate) right: *mut Links,
}

/// `RTL_GENERIC_COMPARE_RESULTS`.
const LESS: i32 = 0;
const GREATER: i32 = 1;

/// `TABLE_SEARCH_RESULT`.
pub(crate) const EMPTY_TREE: i32 = 0;
pub(crate) const FOUND_NODE: i32 = 1;
pub(crate) const INSERT_AS_LEFT: i32 = 2;
pub(crate) const INSERT_AS_RIGHT: i32 = 3;

/// The driver's routines: how two elements compare, and where nodes come from and go to.
pub(crate) type Compare = unsafe extern "win64" fn(*mut c_void, *mut c_void, *mut c_void) -> i32;
pub(crate) type Allocate = unsafe extern "win64" fn(*mut c_void, u32) -> *mut c_void;
pub(crate) type Free = unsafe extern "win64" fn(*mut c_void, *mut c_void);

/// The node at the end of one side.
///
/// # Safety
/// `node` is a node of a tree.
unsafe fn leftmost(mut node: *mut Links) -> *mut Links {
    // SAFETY: the caller's promise; children of nodes are nodes.
    unsafe {
        while !(*node).left.is_null() {
            node = (*node).left;
        }
    }
    node
}

/// As [`leftmost`], on the other side.
///
/// # Safety
/// As [`leftmost`].
unsafe fn rightmost(mut node: *mut Links) -> *mut Links {
    // SAFETY: as above.
    unsafe {
        while !(*node).right.is_null() {
            node = (*node).right;
        }
    }
    node
}

/// The next node in order, or null. The walk up ends at a node that is its own parent, or at `above`, which is over the root.
///
/// # Safety
/// As [`leftmost`].
unsafe fn successor(node: *mut Links, above: *mut Links) -> *mut Links {
    // SAFETY: the caller's promise; parents and children of nodes are nodes.
    unsafe {
        if !(*node).right.is_null() {
            return leftmost((*node).right);
        }
        let (mut child, mut parent) = (node, (*node).parent);
        while parent != child && parent != above {
            if (*parent).left == child {
                return parent;
            }
            (child, parent) = (parent, (*parent).parent);
        }
    }
    null_mut()
}

/// The node before in order, or null.
///
/// # Safety
/// As [`successor`].
unsafe fn predecessor(node: *mut Links, above: *mut Links) -> *mut Links {
    // SAFETY: as in `successor`.
    unsafe {
        if !(*node).left.is_null() {
            return rightmost((*node).left);
        }
        let (mut child, mut parent) = (node, (*node).parent);
        while parent != child && parent != above {
            if (*parent).right == child {
                return parent;
            }
            (child, parent) = (parent, (*parent).parent);
        }
    }
    null_mut()
}

/// Turns a node and its parent, so that the parent becomes its child. Order stays. A root that is its own parent hands that on.
///
/// # Safety
/// `node` has a parent that is a node.
unsafe fn rotate(node: *mut Links) {
    // SAFETY: the caller's promise; parents and children of nodes are nodes.
    unsafe {
        let parent = (*node).parent;
        let above = (*parent).parent;
        let moved = if (*parent).left == node {
            (*parent).left = (*node).right;
            core::mem::replace(&mut (*node).right, parent)
        } else {
            (*parent).right = (*node).left;
            core::mem::replace(&mut (*node).left, parent)
        };
        if !moved.is_null() {
            (*moved).parent = parent;
        }
        (*parent).parent = node;
        if above == parent {
            (*node).parent = node;
        } else {
            replace_child(above, parent, node);
            (*node).parent = above;
        }
    }
}

/// Puts another node, or null, where `old` is among a node's children.
///
/// # Safety
/// `parent` is a node, and `old` one of its children.
unsafe fn replace_child(parent: *mut Links, old: *mut Links, new: *mut Links) {
    // SAFETY: the caller's promise.
    unsafe { if (*parent).left == old { (*parent).left = new } else { (*parent).right = new } }
}

/// Looks for an element among the nodes below and at `root`; the node, or the one to insert it below, and which of that it is.
///
/// # Safety
/// `root` is null or a node; `buffer` is what the driver's routine compares, and `data` bytes into a node lies the node's own.
unsafe fn search(
    root: *mut Links,
    buffer: *mut c_void,
    data: usize,
    compare: impl Fn(*mut c_void, *mut c_void) -> i32,
) -> (*mut Links, i32) {
    let mut node = root;
    if node.is_null() {
        return (null_mut(), EMPTY_TREE);
    }
    loop {
        // SAFETY: the caller's promise; children of nodes are nodes.
        let (next, outcome) = unsafe {
            match compare(buffer, node.byte_add(data).cast()) {
                LESS => ((*node).left, INSERT_AS_LEFT),
                GREATER => ((*node).right, INSERT_AS_RIGHT),
                _ => return (node, FOUND_NODE),
            }
        };
        if next.is_null() {
            return (node, outcome);
        }
        node = next;
    }
}
