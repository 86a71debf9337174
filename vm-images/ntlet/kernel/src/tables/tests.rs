//! Both kinds of table against the standard library's ordered map, with many random insertions and deletions.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::null_mut;

use proptest::prelude::*;

use super::avl::{self, *};
use super::splay::{self, *};

/// An element: what the order is by, and something else.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Element {
    key: u32,
    value: u32,
}

unsafe extern "win64" fn compare(_: *mut c_void, one: *mut c_void, other: *mut c_void) -> i32 {
    // SAFETY: the tables of these tests hold elements, and are asked for elements.
    let (one, other) = unsafe { (*one.cast::<Element>(), *other.cast::<Element>()) };
    match one.key.cmp(&other.key) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Greater => 1,
        std::cmp::Ordering::Equal => 2,
    }
}

fn layout(size: u32) -> std::alloc::Layout {
    std::alloc::Layout::from_size_align(size as usize + 16, 16).unwrap()
}

unsafe extern "win64" fn allocate(_: *mut c_void, size: u32) -> *mut c_void {
    // SAFETY: the layout is not empty; there is room for the size in front of the block.
    unsafe {
        let block = std::alloc::alloc(layout(size));
        block.cast::<u32>().write(size);
        block.add(16).cast()
    }
}

unsafe extern "win64" fn free(_: *mut c_void, block: *mut c_void) {
    // SAFETY: allocated above.
    unsafe {
        let block = block.cast::<u8>().sub(16);
        std::alloc::dealloc(block, layout(block.cast::<u32>().read()));
    }
}

fn element(at: *mut c_void) -> Option<Element> {
    // SAFETY: null, or an element of a table.
    unsafe { at.cast::<Element>().as_ref() }.copied()
}

fn buffer(element: &mut Element) -> *mut c_void {
    (&raw mut *element).cast()
}

/// What is done to a table.
#[derive(Clone, Debug)]
enum Deed {
    Insert(u32),
    Delete(u32),
    Lookup(u32),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let key = 0_u32..80;
    let deed = prop_oneof![
        3 => key.clone().prop_map(Deed::Insert),
        2 => key.clone().prop_map(Deed::Delete),
        1 => key.prop_map(Deed::Lookup),
    ];
    prop::collection::vec(deed, 1..400)
}

macro_rules! table_test {
    ($name:ident, $table:ty, $check:expr, $init:ident $insert:ident $delete:ident $lookup:ident $next:ident $enumerate:ident $count:ident $is_empty:ident) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(60))]
            #[test]
            fn $name(deeds in deeds()) {
                let mut table = std::mem::MaybeUninit::<$table>::uninit();
                let table = table.as_mut_ptr();
                // SAFETY: the table stays where it is, and its elements are of one type.
                unsafe {
                    $init(table, Some(compare), Some(allocate), Some(free), null_mut());
                    let mut model = BTreeMap::new();
                    for (number, deed) in (1_u32..).zip(&deeds) {
                        match *deed {
                            Deed::Insert(key) => {
                                let mut new = 7;
                                let mut given = Element { key, value: number };
                                let at = $insert(table, buffer(&mut given), size_of::<Element>() as u32, &raw mut new);
                                prop_assert_eq!(new != 0, !model.contains_key(&key));
                                let value = *model.entry(key).or_insert(number);
                                prop_assert_eq!(element(at), Some(Element { key, value }));
                            }
                            Deed::Delete(key) => {
                                let deleted = $delete(table, buffer(&mut Element { key, value: 0 }));
                                prop_assert_eq!(deleted != 0, model.remove(&key).is_some());
                            }
                            Deed::Lookup(key) => {
                                let found = element($lookup(table, buffer(&mut Element { key, value: 0 })));
                                prop_assert_eq!(found, model.get(&key).map(|&value| Element { key, value }));
                            }
                        }
                        prop_assert_eq!(($count(table), $is_empty(table) != 0), (model.len() as u32, model.is_empty()));
                        $check(&*table);
                    }
                    let wanted: Vec<_> = model.iter().map(|(&key, &value)| Element { key, value }).collect();
                    let mut key = null_mut();
                    let walked: Vec<_> = std::iter::from_fn(|| element($next(table, &raw mut key))).collect();
                    prop_assert_eq!(&walked, &wanted);
                    let mut restart = 1;
                    let enumerated: Vec<_> =
                        std::iter::from_fn(|| element($enumerate(table, std::mem::take(&mut restart)))).collect();
                    prop_assert_eq!(&enumerated, &wanted);
                    for mut given in wanted {
                        prop_assert_eq!($delete(table, buffer(&mut given)), 1);
                    }
                    prop_assert_eq!($count(table), 0);
                }
            }
        }
    };
}

table_test!(a_splay_table_keeps_what_it_is_given_in_order, splay::GenericTable, |_: &splay::GenericTable| (),
    RtlInitializeGenericTable RtlInsertElementGenericTable RtlDeleteElementGenericTable RtlLookupElementGenericTable
    RtlEnumerateGenericTableWithoutSplaying RtlEnumerateGenericTable RtlNumberGenericTableElements RtlIsGenericTableEmpty);

fn is_balanced(table: &avl::AvlTable) {
    let (root, depth) = shape(table);
    // SAFETY: the table is initialised, and nobody changes it.
    assert_eq!(unsafe { checked_height(root) }, depth);
}

table_test!(an_avl_table_keeps_what_it_is_given_in_order_and_stays_balanced, avl::AvlTable, is_balanced,
    RtlInitializeGenericTableAvl RtlInsertElementGenericTableAvl RtlDeleteElementGenericTableAvl RtlLookupElementGenericTableAvl
    RtlEnumerateGenericTableWithoutSplayingAvl RtlEnumerateGenericTableAvl RtlNumberGenericTableElementsAvl
    RtlIsGenericTableEmptyAvl);

#[test]
fn elements_by_number_come_in_the_order_of_insertion_or_of_keys() {
    let keys = [5, 1, 9, 3, 7];
    let mut old = std::mem::MaybeUninit::<splay::GenericTable>::uninit();
    let mut new = std::mem::MaybeUninit::<avl::AvlTable>::uninit();
    let (old, new) = (old.as_mut_ptr(), new.as_mut_ptr());
    // SAFETY: as above.
    unsafe {
        RtlInitializeGenericTable(old, Some(compare), Some(allocate), Some(free), null_mut());
        RtlInitializeGenericTableAvl(new, Some(compare), Some(allocate), Some(free), null_mut());
        for key in keys {
            RtlInsertElementGenericTable(old, buffer(&mut Element { key, value: 0 }), 8, null_mut());
            RtlInsertElementGenericTableAvl(new, buffer(&mut Element { key, value: 0 }), 8, null_mut());
        }
        for order in [[0, 1, 2, 3, 4], [4, 2, 3, 0, 1]] {
            for at in order {
                assert_eq!(element(RtlGetElementGenericTable(old, at)).unwrap().key, keys[at as usize]);
                assert_eq!(element(RtlGetElementGenericTableAvl(new, at)).unwrap().key, 2 * at + 1);
            }
        }
        assert!(RtlGetElementGenericTable(old, 5).is_null() && RtlGetElementGenericTableAvl(new, 5).is_null());
        for key in keys {
            assert_eq!(RtlDeleteElementGenericTable(old, buffer(&mut Element { key, value: 0 })), 1);
            assert_eq!(RtlDeleteElementGenericTableAvl(new, buffer(&mut Element { key, value: 0 })), 1);
        }
    }
}

unsafe extern "win64" fn wants_odd_halves(_: *mut avl::AvlTable, at: *mut c_void, _: *mut c_void) -> wdf_sys::NTSTATUS {
    if element(at).unwrap().key / 10 % 2 == 1 { wdf_sys::NTSTATUS::SUCCESS } else { NO_MATCH }
}

#[test]
fn a_directorys_enumeration_goes_on_where_it_was_though_elements_are_deleted() {
    let mut table = std::mem::MaybeUninit::<avl::AvlTable>::uninit();
    let table = table.as_mut_ptr();
    // SAFETY: as above.
    unsafe {
        RtlInitializeGenericTableAvl(table, Some(compare), Some(allocate), Some(free), null_mut());
        for key in [10, 20, 30, 40, 50] {
            RtlInsertElementGenericTableAvl(table, buffer(&mut Element { key, value: 0 }), 8, null_mut());
        }
        let (mut key, mut deletions) = (null_mut(), 0);
        let mut from = Element { key: 0, value: 0 };
        let mut next = |from: &mut Element, flag| {
            let wants: Option<unsafe extern "win64" fn(_, _, _) -> _> = Some(wants_odd_halves);
            let (key, deletions) = (&raw mut key, &raw mut deletions);
            element(RtlEnumerateGenericTableLikeADirectory(table, wants, null_mut(), flag, key, deletions, buffer(from)))
        };
        assert_eq!(next(&mut from, 0).unwrap().key, 10);
        assert_eq!(next(&mut from, 1).unwrap().key, 30);
        assert_eq!(RtlDeleteElementGenericTableAvl(table, buffer(&mut Element { key: 30, value: 0 })), 1);
        from.key = 30;
        assert_eq!(next(&mut from, 1).unwrap().key, 50, "behind what has gone");
        assert_eq!(next(&mut from, 1), None);
        for key in [10, 20, 40, 50] {
            assert_eq!(RtlDeleteElementGenericTableAvl(table, buffer(&mut Element { key, value: 0 })), 1);
        }
    }
}

#[test]
fn a_node_leaves_a_splay_tree_of_a_drivers_own_with_and_without_splaying() {
    for with in [true, false] {
        let mut nodes = [super::Links { parent: null_mut(), left: null_mut(), right: null_mut() }; 7];
        let [a, b, c, d, e, f, g] = nodes.each_mut().map(|node| &raw mut *node);
        // SAFETY: the nodes stay where they are, and their links are those of a tree.
        unsafe {
            for (node, parent, left, right) in [
                (d, d, b, f),
                (b, d, a, c),
                (f, d, e, g),
                (a, b, null_mut(), null_mut()),
                (c, b, null_mut(), null_mut()),
                (e, f, null_mut(), null_mut()),
                (g, f, null_mut(), null_mut()),
            ] {
                *node = super::Links { parent, left, right };
            }
            let mut root = d;
            for (gone, left) in [(d, vec![a, b, c, e, f, g]), (a, vec![b, c, e, f, g]), (f, vec![b, c, e, g])] {
                if with {
                    root = RtlDelete(gone)
                } else {
                    RtlDeleteNoSplay(gone, &raw mut root)
                }
                assert_eq!((*root).parent, root);
                let mut walked = vec![super::leftmost(root)];
                while let next = RtlRealSuccessor(*walked.last().unwrap())
                    && !next.is_null()
                {
                    assert_eq!(RtlRealPredecessor(next), *walked.last().unwrap());
                    walked.push(next);
                }
                assert_eq!(walked, left);
            }
            root = RtlSplay(b);
            assert_eq!(((*b).parent, RtlSubtreePredecessor(b)), (b, null_mut()));
            assert_eq!(RtlSubtreeSuccessor(root), c);
        }
    }
}
