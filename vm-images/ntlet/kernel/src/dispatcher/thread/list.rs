//! Lists of threads, linked through the threads themselves. A thread is in one list at most.

use core::ptr::null_mut;

use super::Thread;

/// A thread's place in a list.
pub(super) struct Links {
    next: *mut Thread,
    previous: *mut Thread,
}

impl Links {
    pub(super) const fn new() -> Self {
        Self { next: null_mut(), previous: null_mut() }
    }
}

/// A list of threads that are alive. The dispatcher lock is held by whoever uses it.
pub(crate) struct ThreadList {
    first: *mut Thread,
    last: *mut Thread,
}

impl ThreadList {
    pub(crate) const fn new() -> Self {
        Self { first: null_mut(), last: null_mut() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    pub(crate) fn push_back(&mut self, thread: *mut Thread) {
        // SAFETY: threads in the list, and the one that joins, are alive and in no other list.
        unsafe {
            (*thread).links = Links { next: null_mut(), previous: self.last };
            match self.last.as_mut() {
                Some(last) => last.links.next = thread,
                None => self.first = thread,
            }
        }
        self.last = thread;
    }

    pub(crate) fn push_front(&mut self, thread: *mut Thread) {
        // SAFETY: as above.
        unsafe {
            (*thread).links = Links { next: self.first, previous: null_mut() };
            match self.first.as_mut() {
                Some(first) => first.links.previous = thread,
                None => self.last = thread,
            }
        }
        self.first = thread;
    }

    /// Takes out a thread that is in this list.
    pub(crate) fn remove(&mut self, thread: *mut Thread) {
        // SAFETY: as above.
        unsafe {
            let Links { next, previous } = core::mem::replace(&mut (*thread).links, Links::new());
            match next.as_mut() {
                Some(next) => next.links.previous = previous,
                None => self.last = previous,
            }
            match previous.as_mut() {
                Some(previous) => previous.links.next = next,
                None => self.first = next,
            }
        }
    }

    pub(crate) fn pop_front(&mut self) -> Option<*mut Thread> {
        let first = self.first;
        if first.is_null() {
            return None;
        }
        self.remove(first);
        Some(first)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = *mut Thread> {
        let mut next = self.first;
        core::iter::from_fn(move || {
            let thread = next;
            // SAFETY: as above.
            next = unsafe { thread.as_ref() }?.links.next;
            Some(thread)
        })
    }
}
