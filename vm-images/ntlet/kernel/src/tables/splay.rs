//! Generic tables over splay trees, and the functions for splay trees of a driver's own: whatever is looked for becomes the root.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::BOOLEAN;
use wdf_sys::wdm::{LIST_ENTRY, initialize_list_head, insert_tail_list, remove_entry_list};

use super::{
    Allocate, Compare, FOUND_NODE, Free, INSERT_AS_LEFT, Links, leftmost, predecessor, rightmost, rotate, search, successor,
};

/// `RTL_GENERIC_TABLE`.
#[repr(C)]
pub(crate) struct GenericTable {
    root: *mut Links,
    in_order_of_insertion: LIST_ENTRY,
    ordered_pointer: *mut LIST_ENTRY,
    which_ordered_element: u32,
    count: u32,
    compare: Option<Compare>,
    allocate: Option<Allocate>,
    free: Option<Free>,
    context: *mut c_void,
}
const _: () = assert!(size_of::<GenericTable>() == 72);

/// What precedes an element.
#[repr(C)]
struct Node {
    links: Links,
    entry: LIST_ENTRY,
    data: [u64; 0],
}
const DATA: usize = core::mem::offset_of!(Node, data);
const _: () = assert!(DATA == 40);

impl GenericTable {
    /// Where an element is, or would be.
    ///
    /// # Safety
    /// The table is the caller's, and initialised.
    unsafe fn search(table: *mut Self, buffer: *mut c_void) -> (*mut Links, i32) {
        // SAFETY: the caller's promise; the driver's routine compares its own elements.
        unsafe {
            let compare = (*table).compare;
            search((*table).root, buffer, DATA, |one, other| compare.map_or(2, |compare| compare(table.cast(), one, other)))
        }
    }

    /// Makes a node the root.
    ///
    /// # Safety
    /// It is the table's.
    unsafe fn access(table: *mut Self, node: *mut Links) {
        // SAFETY: the caller's promise.
        unsafe { (*table).root = RtlSplay(node) };
    }
}

/// Where the element of a node begins; null for none.
fn element(node: *mut Links) -> *mut c_void {
    if node.is_null() { null_mut() } else { node.wrapping_byte_add(DATA).cast() }
}

/// Brings a node to the root of its tree, and returns it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSplay(Links: *mut Links) -> *mut Links {
    // SAFETY: the caller's promise: a node of a tree whose root is its own parent.
    unsafe {
        loop {
            let parent = (*Links).parent;
            if parent == Links {
                return Links;
            }
            let above = (*parent).parent;
            if above != parent {
                let is_straight = ((*above).left == parent) == ((*parent).left == Links);
                rotate(if is_straight { parent } else { Links });
            }
            rotate(Links);
        }
    }
}

/// Takes a node out of its tree; the new root, or null.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlDelete(Links: *mut Links) -> *mut Links {
    // SAFETY: the caller's promise, as for `RtlSplay`.
    unsafe {
        RtlSplay(Links);
        let (left, right) = ((*Links).left, (*Links).right);
        for child in [left, right] {
            if !child.is_null() {
                (*child).parent = child;
            }
        }
        if left.is_null() || right.is_null() {
            return if left.is_null() { right } else { left };
        }
        let root = RtlSplay(rightmost(left));
        (*root).right = right;
        (*right).parent = root;
        root
    }
}

/// As `RtlDelete`; the tree keeps its shape as far as that is possible. `*Root` is kept right.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlDeleteNoSplay(Links: *mut Links, Root: *mut *mut Links) {
    // SAFETY: the caller's promise, as for `RtlSplay`.
    unsafe {
        // A node with two children sinks below its predecessor until one of them is gone.
        while !(*Links).left.is_null() && !(*Links).right.is_null() {
            let left = (*Links).left;
            if *Root == Links {
                *Root = left;
            }
            rotate(left);
        }
        let child = if (*Links).left.is_null() { (*Links).right } else { (*Links).left };
        let parent = (*Links).parent;
        if parent == Links {
            *Root = child;
            if !child.is_null() {
                (*child).parent = child;
            }
        } else {
            super::replace_child(parent, Links, child);
            if !child.is_null() {
                (*child).parent = parent;
            }
        }
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSubtreeSuccessor(Links: *mut Links) -> *mut Links {
    // SAFETY: the caller's promise: a node.
    unsafe { if (*Links).right.is_null() { null_mut() } else { leftmost((*Links).right) } }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlSubtreePredecessor(Links: *mut Links) -> *mut Links {
    // SAFETY: the caller's promise: a node.
    unsafe { if (*Links).left.is_null() { null_mut() } else { rightmost((*Links).left) } }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlRealSuccessor(Links: *mut Links) -> *mut Links {
    // SAFETY: the caller's promise: a node.
    unsafe { successor(Links, null_mut()) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlRealPredecessor(Links: *mut Links) -> *mut Links {
    // SAFETY: the caller's promise: a node.
    unsafe { predecessor(Links, null_mut()) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlInitializeGenericTable(
    Table: *mut GenericTable,
    CompareRoutine: Option<Compare>,
    AllocateRoutine: Option<Allocate>,
    FreeRoutine: Option<Free>,
    TableContext: *mut c_void,
) {
    // SAFETY: the caller's promise: room for a table.
    unsafe {
        Table.write(GenericTable {
            root: null_mut(),
            in_order_of_insertion: LIST_ENTRY::zeroed(),
            ordered_pointer: null_mut(),
            which_ordered_element: 0,
            count: 0,
            compare: CompareRoutine,
            allocate: AllocateRoutine,
            free: FreeRoutine,
            context: TableContext,
        });
        let list = &raw mut (*Table).in_order_of_insertion;
        initialize_list_head(list);
        (*Table).ordered_pointer = list;
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlInsertElementGenericTable(
    Table: *mut GenericTable,
    Buffer: *mut c_void,
    BufferSize: u32,
    NewElement: *mut BOOLEAN,
) -> *mut c_void {
    // SAFETY: the caller's promise: a table, and an element of that size.
    unsafe {
        let (node, outcome) = GenericTable::search(Table, Buffer);
        RtlInsertElementGenericTableFull(Table, Buffer, BufferSize, NewElement, node.cast(), outcome)
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlInsertElementGenericTableFull(
    Table: *mut GenericTable,
    Buffer: *mut c_void,
    BufferSize: u32,
    NewElement: *mut BOOLEAN,
    NodeOrParent: *mut c_void,
    SearchResult: i32,
) -> *mut c_void {
    let parent: *mut Links = NodeOrParent.cast();
    // SAFETY: the caller's promise: a table, an element of that size, and what a search for it has found.
    unsafe {
        let is_new = SearchResult != FOUND_NODE;
        let node = if is_new { insert(Table, (Buffer, BufferSize), (parent, SearchResult)) } else { parent };
        if !NewElement.is_null() {
            NewElement.write(BOOLEAN::from(is_new && !node.is_null()));
        }
        if !node.is_null() {
            GenericTable::access(Table, node);
        }
        element(node)
    }
}

/// A new node for an element, below `parent` or as the first one. Null without memory.
///
/// # Safety
/// As for `RtlInsertElementGenericTableFull`.
unsafe fn insert(table: *mut GenericTable, (buffer, size): (*mut c_void, u32), (parent, place): (*mut Links, i32)) -> *mut Links {
    // SAFETY: the caller's promise; the driver's routine gives a block of the size it is asked for, or null.
    unsafe {
        let (Some(allocate), Some(bytes)) = ((*table).allocate, size.checked_add(DATA as u32)) else { return null_mut() };
        let node: *mut Node = allocate(table.cast(), bytes).cast();
        if node.is_null() {
            return null_mut();
        }
        let links = &raw mut (*node).links;
        links.write(Links { parent: if parent.is_null() { links } else { parent }, left: null_mut(), right: null_mut() });
        if !parent.is_null() {
            if place == INSERT_AS_LEFT { (*parent).left = links } else { (*parent).right = links }
        }
        insert_tail_list(&raw mut (*table).in_order_of_insertion, &raw mut (*node).entry);
        (*table).count += 1;
        core::ptr::copy_nonoverlapping(buffer.cast::<u8>(), element(links).cast(), size as usize);
        links
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlDeleteElementGenericTable(Table: *mut GenericTable, Buffer: *mut c_void) -> BOOLEAN {
    // SAFETY: the caller's promise: a table, and an element to compare with.
    unsafe {
        let (node, outcome) = GenericTable::search(Table, Buffer);
        if outcome != FOUND_NODE {
            return 0;
        }
        (*Table).root = RtlDelete(node);
        remove_entry_list(&raw mut (*node.cast::<Node>()).entry);
        (*Table).count -= 1;
        ((*Table).ordered_pointer, (*Table).which_ordered_element) = (&raw mut (*Table).in_order_of_insertion, 0);
        if let Some(free) = (*Table).free {
            free(Table.cast(), node.cast());
        }
    }
    1
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlLookupElementGenericTable(Table: *mut GenericTable, Buffer: *mut c_void) -> *mut c_void {
    let (mut node, mut outcome) = (null_mut(), 0);
    // SAFETY: the caller's promise.
    unsafe { RtlLookupElementGenericTableFull(Table, Buffer, &raw mut node, &raw mut outcome) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlLookupElementGenericTableFull(
    Table: *mut GenericTable,
    Buffer: *mut c_void,
    NodeOrParent: *mut *mut c_void,
    SearchResult: *mut i32,
) -> *mut c_void {
    // SAFETY: the caller's promise: a table, an element to compare with, and places for the results.
    unsafe {
        let (node, outcome) = GenericTable::search(Table, Buffer);
        NodeOrParent.write(node.cast());
        SearchResult.write(outcome);
        if outcome != FOUND_NODE {
            return null_mut();
        }
        GenericTable::access(Table, node);
        element(node)
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlEnumerateGenericTable(Table: *mut GenericTable, Restart: BOOLEAN) -> *mut c_void {
    // SAFETY: the caller's promise: a table. The root is what was returned last, if nothing was looked for meanwhile.
    unsafe {
        let root = (*Table).root;
        if root.is_null() {
            return null_mut();
        }
        let next = if Restart != 0 { leftmost(root) } else { successor(root, null_mut()) };
        if !next.is_null() {
            GenericTable::access(Table, next);
        }
        element(next)
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlEnumerateGenericTableWithoutSplaying(
    Table: *mut GenericTable,
    RestartKey: *mut *mut c_void,
) -> *mut c_void {
    // SAFETY: the caller's promise: a table, and null or the key of the element that was returned last.
    unsafe {
        let (root, last) = ((*Table).root, (*RestartKey).cast::<Links>());
        if root.is_null() {
            return null_mut();
        }
        let next = if last.is_null() { leftmost(root) } else { successor(last, null_mut()) };
        if !next.is_null() {
            RestartKey.write(next.cast());
        }
        element(next)
    }
}

/// The element that was inserted as the `I`th, counted from 0.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlGetElementGenericTable(Table: *mut GenericTable, I: u32) -> *mut c_void {
    // SAFETY: the caller's promise: a table. The place that was asked for last is where the walk goes on, if it is not behind.
    unsafe {
        if I >= (*Table).count {
            return null_mut();
        }
        let wanted = I + 1;
        if wanted < (*Table).which_ordered_element {
            ((*Table).ordered_pointer, (*Table).which_ordered_element) = (&raw mut (*Table).in_order_of_insertion, 0);
        }
        while (*Table).which_ordered_element < wanted {
            (*Table).ordered_pointer = (*(*Table).ordered_pointer).Flink;
            (*Table).which_ordered_element += 1;
        }
        element((*Table).ordered_pointer.byte_sub(core::mem::offset_of!(Node, entry)).cast())
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlNumberGenericTableElements(Table: *mut GenericTable) -> u32 {
    // SAFETY: the caller's promise: a table.
    unsafe { (*Table).count }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlIsGenericTableEmpty(Table: *mut GenericTable) -> BOOLEAN {
    // SAFETY: the caller's promise: a table.
    BOOLEAN::from(unsafe { (*Table).root.is_null() })
}
