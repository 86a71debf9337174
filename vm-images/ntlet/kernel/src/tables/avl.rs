//! Generic tables over AVL trees: the two sides of every node differ in height by one at most.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;
use core::ptr::null_mut;

use wdf_sys::{BOOLEAN, NTSTATUS};

use super::{
    Allocate, Compare, EMPTY_TREE, FOUND_NODE, Free, INSERT_AS_LEFT, Links, leftmost, predecessor, replace_child, rotate, search,
    successor,
};

/// `RTL_BALANCED_LINKS`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct BalancedLinks {
    links: Links,
    /// Height of the right side less that of the left: -1, 0 or 1.
    balance: i8,
    reserved: [u8; 3],
    data: [u64; 0],
}
const DATA: usize = core::mem::offset_of!(BalancedLinks, data);
const _: () = assert!(DATA == 32 && size_of::<BalancedLinks>() == 32);

/// `RTL_AVL_TABLE`. What is over the root is in the table itself: the root is its right child.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct AvlTable {
    above: BalancedLinks,
    ordered_pointer: *mut Links,
    which_ordered_element: u32,
    count: u32,
    depth: u32,
    restart_key: *mut Links,
    delete_count: u32,
    compare: Option<Compare>,
    allocate: Option<Allocate>,
    free: Option<Free>,
    context: *mut c_void,
}
const _: () = assert!(size_of::<AvlTable>() == 104);

/// `STATUS_NO_MATCH`: what such a routine says of an element that is not wanted.
pub(super) const NO_MATCH: NTSTATUS = NTSTATUS(0xc000_0272_u32 as i32);

/// The driver's routine that picks elements of an enumeration.
type Match = unsafe extern "win64" fn(*mut AvlTable, *mut c_void, *mut c_void) -> NTSTATUS;

/// # Safety
/// `node` is a node of an AVL tree.
unsafe fn balance<'a>(node: *mut Links) -> &'a mut i8 {
    // SAFETY: the caller's promise.
    unsafe { &mut (*node.cast::<BalancedLinks>()).balance }
}

/// Which side of its parent a node is on: -1 for left, 1 for right.
///
/// # Safety
/// As [`balance`].
unsafe fn side(parent: *mut Links, node: *mut Links) -> i8 {
    // SAFETY: the caller's promise.
    if unsafe { (*parent).left == node } { -1 } else { 1 }
}

/// # Safety
/// As [`balance`].
unsafe fn child(node: *mut Links, side: i8) -> *mut Links {
    // SAFETY: the caller's promise.
    unsafe { if side < 0 { (*node).left } else { (*node).right } }
}

/// Levels a node whose one side is higher by two. Whether the subtree has become lower by that.
///
/// # Safety
/// `node` is a node of an AVL tree, and has a child on that side.
unsafe fn level(node: *mut Links, heavy: i8) -> bool {
    // SAFETY: the caller's promise; a side that is higher by two has a grandchild where it is needed.
    unsafe {
        let high = child(node, heavy);
        if *balance(high) == -heavy {
            let middle = child(high, -heavy);
            rotate(middle);
            rotate(middle);
            let tilt = core::mem::take(balance(middle));
            *balance(node) = if tilt == heavy { -heavy } else { 0 };
            *balance(high) = if tilt == -heavy { heavy } else { 0 };
            return true;
        }
        rotate(high);
        let is_lower = *balance(high) != 0;
        *balance(node) = if is_lower { 0 } else { heavy };
        *balance(high) = if is_lower { 0 } else { -heavy };
        is_lower
    }
}

impl AvlTable {
    /// # Safety
    /// The table is the caller's, and initialised.
    unsafe fn above(table: *mut Self) -> *mut Links {
        // SAFETY: the caller's promise.
        unsafe { &raw mut (*table).above.links }
    }

    /// # Safety
    /// As [`AvlTable::above`].
    unsafe fn root(table: *mut Self) -> *mut Links {
        // SAFETY: the caller's promise.
        unsafe { (*table).above.links.right }
    }

    /// Where an element is, or would be.
    ///
    /// # Safety
    /// As [`AvlTable::above`].
    unsafe fn search(table: *mut Self, buffer: *mut c_void) -> (*mut Links, i32) {
        // SAFETY: the caller's promise; the driver's routine compares its own elements.
        unsafe {
            let compare = (*table).compare;
            search(Self::root(table), buffer, DATA, |one, other| compare.map_or(2, |compare| compare(table.cast(), one, other)))
        }
    }

    /// The order of elements has changed.
    fn forget_order(&mut self) {
        (self.ordered_pointer, self.which_ordered_element) = (null_mut(), 0);
    }

    /// A node has come: the heights above it are put right.
    ///
    /// # Safety
    /// `node` is a new leaf of the table's.
    unsafe fn grown(table: *mut Self, mut node: *mut Links) {
        // SAFETY: the caller's promise; parents of nodes are nodes, up to what is over the root.
        unsafe {
            loop {
                let parent = (*node).parent;
                if parent == Self::above(table) {
                    (*table).depth += 1;
                    return;
                }
                let side = side(parent, node);
                let before = *balance(parent);
                if before == side {
                    let _ = level(parent, side);
                    return;
                }
                *balance(parent) += side;
                if before != 0 {
                    return;
                }
                node = parent;
            }
        }
    }

    /// One side of a node has become lower: the heights above are put right.
    ///
    /// # Safety
    /// `node` is a node of the table's, or what is over the root.
    unsafe fn shrunk(table: *mut Self, mut node: *mut Links, mut lower: i8) {
        // SAFETY: as in `grown`.
        unsafe {
            loop {
                if node == Self::above(table) {
                    (*table).depth -= 1;
                    return;
                }
                let before = *balance(node);
                if before == 0 {
                    *balance(node) = -lower;
                    return;
                }
                let mut top = node;
                if before == lower {
                    *balance(node) = 0;
                } else {
                    let is_lower = level(node, -lower);
                    top = (*node).parent;
                    // After a double turn the node's parent is the new top, too; both turns put it right above the node.
                    if !is_lower {
                        return;
                    }
                }
                let parent = (*top).parent;
                lower = side(parent, top);
                node = parent;
            }
        }
    }

    /// Takes a node out of the tree.
    ///
    /// # Safety
    /// It is the table's.
    unsafe fn unlink(table: *mut Self, node: *mut Links) {
        // SAFETY: the caller's promise; parents and children of nodes are nodes.
        unsafe {
            let Links { parent, left, right } = *node;
            if left.is_null() || right.is_null() {
                let child = if left.is_null() { right } else { left };
                let side = side(parent, node);
                replace_child(parent, node, child);
                if !child.is_null() {
                    (*child).parent = parent;
                }
                return Self::shrunk(table, parent, side);
            }
            // The next one, which has no left side, takes its place.
            let next = leftmost(right);
            let (start, side) = if next == right { (next, 1) } else { ((*next).parent, -1) };
            if next != right {
                let moved = (*next).right;
                (*start).left = moved;
                if !moved.is_null() {
                    (*moved).parent = start;
                }
                (*next).right = right;
                (*right).parent = next;
            }
            (*next).left = left;
            (*left).parent = next;
            *balance(next) = *balance(node);
            replace_child(parent, node, next);
            (*next).parent = parent;
            Self::shrunk(table, start, side);
        }
    }

    /// The element behind `last`, or (null) the first one.
    ///
    /// # Safety
    /// `last` is null or a node of the table's.
    unsafe fn after(table: *mut Self, last: *mut Links) -> *mut Links {
        // SAFETY: the caller's promise.
        unsafe {
            let root = Self::root(table);
            if root.is_null() {
                null_mut()
            } else if last.is_null() {
                leftmost(root)
            } else {
                successor(last, Self::above(table))
            }
        }
    }
}

/// Where the element of a node begins; null for none.
fn element(node: *mut Links) -> *mut c_void {
    if node.is_null() { null_mut() } else { node.wrapping_byte_add(DATA).cast() }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlInitializeGenericTableAvl(
    Table: *mut AvlTable,
    CompareRoutine: Option<Compare>,
    AllocateRoutine: Option<Allocate>,
    FreeRoutine: Option<Free>,
    TableContext: *mut c_void,
) {
    // SAFETY: the caller's promise: room for a table.
    unsafe {
        Table.write_bytes(0, 1);
        (*Table).above.links.parent = AvlTable::above(Table);
        (*Table).compare = CompareRoutine;
        (*Table).allocate = AllocateRoutine;
        (*Table).free = FreeRoutine;
        (*Table).context = TableContext;
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlInsertElementGenericTableAvl(
    Table: *mut AvlTable,
    Buffer: *mut c_void,
    BufferSize: u32,
    NewElement: *mut BOOLEAN,
) -> *mut c_void {
    // SAFETY: the caller's promise: a table, and an element of that size.
    unsafe {
        let (node, outcome) = AvlTable::search(Table, Buffer);
        RtlInsertElementGenericTableFullAvl(Table, Buffer, BufferSize, NewElement, node.cast(), outcome)
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlInsertElementGenericTableFullAvl(
    Table: *mut AvlTable,
    Buffer: *mut c_void,
    BufferSize: u32,
    NewElement: *mut BOOLEAN,
    NodeOrParent: *mut c_void,
    SearchResult: i32,
) -> *mut c_void {
    let found: *mut Links = NodeOrParent.cast();
    // SAFETY: the caller's promise: a table, an element of that size, and what a search for it has found.
    unsafe {
        let is_new = SearchResult != FOUND_NODE;
        let node = if is_new { insert(Table, (Buffer, BufferSize), (found, SearchResult)) } else { found };
        if !NewElement.is_null() {
            NewElement.write(BOOLEAN::from(is_new && !node.is_null()));
        }
        element(node)
    }
}

/// A new node for an element, below `parent` or as the first one. Null without memory.
///
/// # Safety
/// As for `RtlInsertElementGenericTableFullAvl`.
unsafe fn insert(table: *mut AvlTable, (buffer, size): (*mut c_void, u32), (parent, place): (*mut Links, i32)) -> *mut Links {
    // SAFETY: the caller's promise; the driver's routine gives a block of the size it is asked for, or null.
    unsafe {
        let (Some(allocate), Some(bytes)) = ((*table).allocate, size.checked_add(DATA as u32)) else { return null_mut() };
        let node: *mut BalancedLinks = allocate(table.cast(), bytes).cast();
        if node.is_null() {
            return null_mut();
        }
        let parent = if place == EMPTY_TREE { AvlTable::above(table) } else { parent };
        let links = Links { parent, left: null_mut(), right: null_mut() };
        node.write(BalancedLinks { links, balance: 0, reserved: [0; 3], data: [] });
        let node: *mut Links = node.cast();
        if place == INSERT_AS_LEFT {
            (*parent).left = node
        } else {
            (*parent).right = node
        }
        core::ptr::copy_nonoverlapping(buffer.cast::<u8>(), element(node).cast(), size as usize);
        (*table).count += 1;
        (*table).forget_order();
        AvlTable::grown(table, node);
        node
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlDeleteElementGenericTableAvl(Table: *mut AvlTable, Buffer: *mut c_void) -> BOOLEAN {
    // SAFETY: the caller's promise: a table, and an element to compare with.
    unsafe {
        let (node, outcome) = AvlTable::search(Table, Buffer);
        if outcome != FOUND_NODE {
            return 0;
        }
        // An enumeration goes on behind the element before.
        if (*Table).restart_key == node {
            (*Table).restart_key = predecessor(node, AvlTable::above(Table));
        }
        AvlTable::unlink(Table, node);
        (*Table).count -= 1;
        (*Table).delete_count = (*Table).delete_count.wrapping_add(1);
        (*Table).forget_order();
        if let Some(free) = (*Table).free {
            free(Table.cast(), node.cast());
        }
    }
    1
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlLookupElementGenericTableAvl(Table: *mut AvlTable, Buffer: *mut c_void) -> *mut c_void {
    let (mut node, mut outcome) = (null_mut(), 0);
    // SAFETY: the caller's promise.
    unsafe { RtlLookupElementGenericTableFullAvl(Table, Buffer, &raw mut node, &raw mut outcome) }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlLookupElementGenericTableFullAvl(
    Table: *mut AvlTable,
    Buffer: *mut c_void,
    NodeOrParent: *mut *mut c_void,
    SearchResult: *mut i32,
) -> *mut c_void {
    // SAFETY: the caller's promise: a table, an element to compare with, and places for the results.
    unsafe {
        let (node, outcome) = AvlTable::search(Table, Buffer);
        NodeOrParent.write(node.cast());
        SearchResult.write(outcome);
        if outcome == FOUND_NODE { element(node) } else { null_mut() }
    }
}

/// The first of the elements that are all equal to `Buffer` for the driver's routine. `*RestartKey` is for an enumeration from there on.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlLookupFirstMatchingElementGenericTableAvl(
    Table: *mut AvlTable,
    Buffer: *mut c_void,
    RestartKey: *mut *mut c_void,
) -> *mut c_void {
    // SAFETY: the caller's promise, as for a lookup.
    unsafe {
        let (mut node, outcome) = AvlTable::search(Table, Buffer);
        if outcome != FOUND_NODE {
            RestartKey.write(null_mut());
            return null_mut();
        }
        let Some(compare) = (*Table).compare else { return null_mut() };
        loop {
            let before = predecessor(node, AvlTable::above(Table));
            if before.is_null() || compare(Table.cast(), Buffer, element(before)) <= 1 {
                break;
            }
            node = before;
        }
        RestartKey.write(node.cast());
        element(node)
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlEnumerateGenericTableAvl(Table: *mut AvlTable, Restart: BOOLEAN) -> *mut c_void {
    // SAFETY: the caller's promise: a table.
    unsafe {
        if Restart != 0 {
            (*Table).restart_key = null_mut();
        }
        RtlEnumerateGenericTableWithoutSplayingAvl(Table, (&raw mut (*Table).restart_key).cast())
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlEnumerateGenericTableWithoutSplayingAvl(
    Table: *mut AvlTable,
    RestartKey: *mut *mut c_void,
) -> *mut c_void {
    // SAFETY: the caller's promise: a table, and null or the key of the element that was returned last.
    unsafe {
        let next = AvlTable::after(Table, (*RestartKey).cast());
        if !next.is_null() {
            RestartKey.write(next.cast());
        }
        element(next)
    }
}

/// Goes on with an enumeration from a key, or, when elements were deleted meanwhile, from the element in `Buffer`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlEnumerateGenericTableLikeADirectory(
    Table: *mut AvlTable,
    MatchFunction: Option<Match>,
    MatchData: *mut c_void,
    NextFlag: u32,
    RestartKey: *mut *mut c_void,
    DeleteCount: *mut u32,
    Buffer: *mut c_void,
) -> *mut c_void {
    // SAFETY: the caller's promise: a table, an element to compare with, and what an earlier call has left in the places.
    unsafe {
        let mut node: *mut Links = (*RestartKey).cast();
        if *DeleteCount != (*Table).delete_count {
            node = null_mut();
        }
        if node.is_null() {
            let (found, outcome) = AvlTable::search(Table, Buffer);
            node = match outcome {
                EMPTY_TREE => return null_mut(),
                FOUND_NODE if NextFlag != 0 => AvlTable::after(Table, found),
                FOUND_NODE | INSERT_AS_LEFT => found,
                _ => AvlTable::after(Table, found),
            };
        } else if NextFlag != 0 {
            node = AvlTable::after(Table, node);
        }
        // The first from there on that the driver wants; it says no with one status, and "no more" with another.
        while !node.is_null() {
            match MatchFunction.map_or(NTSTATUS::SUCCESS, |wants| wants(Table, element(node), MatchData)) {
                NTSTATUS::SUCCESS => break,
                NO_MATCH => node = AvlTable::after(Table, node),
                _ => node = null_mut(),
            }
        }
        DeleteCount.write((*Table).delete_count);
        RestartKey.write(node.cast());
        element(node)
    }
}

/// The `I`th element in order, counted from 0.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlGetElementGenericTableAvl(Table: *mut AvlTable, I: u32) -> *mut c_void {
    // SAFETY: the caller's promise: a table. The place that was asked for last is where the walk goes on, if it is not behind.
    unsafe {
        if I >= (*Table).count {
            return null_mut();
        }
        let wanted = I + 1;
        if wanted < (*Table).which_ordered_element {
            (*Table).forget_order();
        }
        while (*Table).which_ordered_element < wanted {
            (*Table).ordered_pointer = AvlTable::after(Table, (*Table).ordered_pointer);
            (*Table).which_ordered_element += 1;
        }
        element((*Table).ordered_pointer)
    }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlNumberGenericTableElementsAvl(Table: *mut AvlTable) -> u32 {
    // SAFETY: the caller's promise: a table.
    unsafe { (*Table).count }
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlIsGenericTableEmptyAvl(Table: *mut AvlTable) -> BOOLEAN {
    // SAFETY: the caller's promise: a table.
    BOOLEAN::from(unsafe { (*Table).count == 0 })
}

/// Height of the tree below a node, checking every node on the way.
///
/// # Safety
/// `node` is null or a node of an AVL tree.
#[cfg(test)]
pub(super) unsafe fn checked_height(node: *mut Links) -> u32 {
    if node.is_null() {
        return 0;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let (left, right) = (checked_height((*node).left), checked_height((*node).right));
        assert_eq!(i64::from(right) - i64::from(left), i64::from(*balance(node)), "the balance of a node");
        for child in [(*node).left, (*node).right] {
            assert!(child.is_null() || (*child).parent == node, "the parent of a node");
        }
        1 + left.max(right)
    }
}

/// The root and the depth that the table says it has.
#[cfg(test)]
pub(super) fn shape(table: &AvlTable) -> (*mut Links, u32) {
    (table.above.links.right, table.depth)
}
