//! A doubly linked list whose links lie inside its elements, so that moving a request between lists allocates nothing.
//!
//! An element may be in several lists at once, one for each `WHICH` it has a [`Link`] for. The lists lock nothing; whoever owns the
//! list locks.

use core::ptr::{addr_of_mut, null_mut};

/// An element's place in one list.
pub(crate) struct Link<T> {
    next: *mut T,
    previous: *mut T,
    linked: bool,
}

impl<T> Link<T> {
    /// In no list.
    pub(crate) const fn new() -> Self {
        Self { next: null_mut(), previous: null_mut(), linked: false }
    }

    /// Whether the element is in the list that this link is for.
    #[cfg(test)]
    pub(crate) const fn is_linked(&self) -> bool {
        self.linked
    }
}

/// An element that has a link of its own for the lists `WHICH`.
///
/// # Safety
/// The same element always returns the same link, which lies inside it.
pub(crate) unsafe trait Linked<const WHICH: usize>: Sized {
    /// The link, from a pointer to the element.
    ///
    /// # Safety
    /// `element` is valid.
    unsafe fn link(element: *mut Self) -> *mut Link<Self>;
}

/// First and last of the elements, in order, and how many there are.
///
/// Invariant: every element in it is valid and linked with `WHICH` here and nowhere else, as promised to `push_…`.
pub(crate) struct List<T: Linked<WHICH>, const WHICH: usize> {
    first: *mut T,
    last: *mut T,
    length: u32,
}

impl<T: Linked<WHICH>, const WHICH: usize> List<T, WHICH> {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        Self { first: null_mut(), last: null_mut(), length: 0 }
    }

    /// The number of elements.
    pub(crate) const fn len(&self) -> u32 {
        self.length
    }

    /// Whether there are none.
    pub(crate) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The first element, or null.
    pub(crate) const fn first(&self) -> *mut T {
        self.first
    }

    /// The element behind `element`, or null.
    ///
    /// # Safety
    /// `element` is in this list.
    pub(crate) unsafe fn after(&self, element: *mut T) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { (*T::link(element)).next }
    }

    /// Appends.
    ///
    /// # Safety
    /// `element` is valid, in no other list of this `WHICH`, and stays where it is until it is removed.
    pub(crate) unsafe fn push_back(&mut self, element: *mut T) {
        // SAFETY: `element` by the caller's promise, `last` by the list's invariant.
        unsafe {
            debug_assert!(!(*T::link(element)).linked, "an element is put into a second list");
            *T::link(element) = Link { next: null_mut(), previous: self.last, linked: true };
            if self.last.is_null() {
                self.first = element;
            } else {
                (*T::link(self.last)).next = element;
            }
        }
        self.last = element;
        self.length += 1;
    }

    /// Puts in front.
    ///
    /// # Safety
    /// As [`List::push_back`].
    pub(crate) unsafe fn push_front(&mut self, element: *mut T) {
        // SAFETY: `element` by the caller's promise, `first` by the list's invariant.
        unsafe {
            debug_assert!(!(*T::link(element)).linked, "an element is put into a second list");
            *T::link(element) = Link { next: self.first, previous: null_mut(), linked: true };
            if self.first.is_null() {
                self.last = element;
            } else {
                (*T::link(self.first)).previous = element;
            }
        }
        self.first = element;
        self.length += 1;
    }

    /// Takes an element out.
    ///
    /// # Safety
    /// `element` is in this list.
    pub(crate) unsafe fn remove(&mut self, element: *mut T) {
        // SAFETY: `element` and its neighbours are in this list, so they are valid.
        unsafe {
            let link = addr_of_mut!(*T::link(element));
            let (next, previous) = ((*link).next, (*link).previous);
            if previous.is_null() {
                self.first = next;
            } else {
                (*T::link(previous)).next = next;
            }
            if next.is_null() {
                self.last = previous;
            } else {
                (*T::link(next)).previous = previous;
            }
            *link = Link::new();
        }
        self.length -= 1;
    }

    /// Takes the first element out.
    pub(crate) fn pop_front(&mut self) -> Option<*mut T> {
        let first = self.first;
        if first.is_null() {
            return None;
        }
        // SAFETY: the first element is in this list.
        unsafe { self.remove(first) };
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item(u32, Link<Item>);

    // SAFETY: the one link is inside the item.
    unsafe impl Linked<0> for Item {
        unsafe fn link(element: *mut Self) -> *mut Link<Self> {
            // SAFETY: the caller's promise.
            unsafe { addr_of_mut!((*element).1) }
        }
    }

    fn numbers(list: &List<Item, 0>) -> Vec<u32> {
        let mut found = Vec::new();
        let mut at = list.first();
        while !at.is_null() {
            // SAFETY: `at` is in the list.
            unsafe {
                found.push((*at).0);
                at = list.after(at);
            }
        }
        found
    }

    #[test]
    fn elements_leave_from_either_end_and_from_the_middle_in_order() {
        let mut items: Vec<Item> = (0..5).map(|number| Item(number, Link::new())).collect();
        let at = items.as_mut_ptr();
        let mut list = List::<Item, 0>::new();

        // SAFETY: the items outlive the list and do not move.
        unsafe {
            list.push_back(at.add(1));
            list.push_back(at.add(2));
            list.push_back(at.add(3));
            list.push_front(at);
            list.push_back(at.add(4));
            assert_eq!(numbers(&list), [0, 1, 2, 3, 4]);
            list.remove(at.add(2));
            list.remove(at.add(4));
            assert!(!(*at.add(2)).1.is_linked());
        }
        assert_eq!(numbers(&list), [0, 1, 3]);
        assert_eq!(list.pop_front(), Some(at));
        assert_eq!(list.len(), 2);
        assert!(list.pop_front().is_some() && list.pop_front().is_some());
        assert_eq!(list.pop_front(), None);
        assert!(list.is_empty());
    }
}
