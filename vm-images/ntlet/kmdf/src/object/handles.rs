//! The handle table: from the number that a driver holds to the object, for any number whatsoever.
//!
//! A handle is no address. It names a slot of a table that never shrinks, and the slot's generation, so that a stale, forged or
//! mangled handle is recognised without touching memory that may be gone. A slot also counts the references on its object: finding an
//! object and taking a reference is one step, and an object that a broken driver deletes on another processor meanwhile stays whole
//! until the call is over. Handles are non-canonical addresses, so a driver that dereferences one faults at once.

use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use wdf_sys::wdm::constants::POOL_FLAG_NON_PAGED;
use wdf_sys::wdm::functions::ExAllocatePool2;

use super::Header;
use crate::globals::FRAMEWORK_TAG;
use crate::sync::SpinLock;

/// Upper 16 bits of every handle.
const MARK: usize = 0x5744;
const GENERATION_BITS: u32 = 20;
const INDEX_BITS: u32 = 20;
const CHUNK_SLOTS: usize = 1024;
const CHUNKS: usize = (1 << INDEX_BITS) / CHUNK_SLOTS;

/// Set in the count while destroy callbacks run: the handle still works, the object cannot come back.
const DESTROYING: u32 = 1 << 31;

struct Slot {
    /// Generation in the upper half, references in the lower.
    word: AtomicU64,
    object: AtomicPtr<Header>,
    next_free: AtomicU32,
}

/// Chunks are added under `FREE`'s lock and never removed.
static TABLE: [AtomicPtr<Slot>; CHUNKS] = [const { AtomicPtr::new(null_mut()) }; CHUNKS];

struct FreeList {
    /// First free slot plus one; 0 for none.
    head: u32,
    chunks: usize,
}

static FREE: SpinLock<FreeList> = SpinLock::new(FreeList { head: 0, chunks: 0 });

/// What giving a reference back meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// Others remain.
    More,
    /// It was the last: the caller destroys the object, and holds it while it does.
    Last,
    /// It was the last one during destruction: the caller frees the memory.
    Free,
}

const fn encode(index: usize, generation: u32) -> usize {
    let generation = generation as usize & ((1 << GENERATION_BITS) - 1);
    MARK << 48 | generation << 28 | index << 4
}

/// Index and generation of a number that has the shape of a handle.
const fn decode(handle: usize) -> Option<(usize, u32)> {
    let index = handle >> 4 & ((1 << INDEX_BITS) - 1);
    let generation = handle >> 28 & ((1 << GENERATION_BITS) - 1);
    if encode(index, generation as u32) == handle { Some((index, generation as u32)) } else { None }
}

const fn generation_matches(word: u64, generation: u32) -> bool {
    (word >> 32) as u32 & ((1 << GENERATION_BITS) - 1) == generation
}

fn slot(index: usize) -> Option<&'static Slot> {
    let chunk = TABLE.get(index / CHUNK_SLOTS)?.load(Ordering::Acquire);
    if chunk.is_null() {
        return None;
    }
    // SAFETY: a chunk has CHUNK_SLOTS initialised slots and is never freed.
    Some(unsafe { &*chunk.add(index % CHUNK_SLOTS) })
}

/// The slot of a handle that is known to be held.
fn held_slot(handle: usize) -> &'static Slot {
    match decode(handle).and_then(|(index, _)| slot(index)) {
        Some(slot) => slot,
        // A reference is counted in its slot, and slots are never freed.
        None => unreachable!("a held handle has a slot"),
    }
}

/// A new handle for `object` with one reference counted. `None` when memory or the table is exhausted.
pub(crate) fn allocate(object: NonNull<Header>) -> Option<usize> {
    let index = take_free()?;
    let slot = slot(index)?;
    slot.object.store(object.as_ptr(), Ordering::Relaxed);
    let generation = (slot.word.load(Ordering::Relaxed) >> 32) as u32;
    slot.word.store(u64::from(generation) << 32 | 1, Ordering::Release);
    Some(encode(index, generation))
}

fn take_free() -> Option<usize> {
    let mut free = FREE.lock();
    if free.head == 0 {
        add_chunk(&mut free)?;
    }
    let index = free.head as usize - 1;
    free.head = slot(index)?.next_free.load(Ordering::Relaxed);
    Some(index)
}

fn add_chunk(free: &mut FreeList) -> Option<()> {
    let place = TABLE.get(free.chunks)?;
    // SAFETY: an ordinary allocation; the result is checked.
    let chunk = unsafe { ExAllocatePool2(POOL_FLAG_NON_PAGED, CHUNK_SLOTS * size_of::<Slot>(), FRAMEWORK_TAG) }.cast::<Slot>();
    if chunk.is_null() {
        return None;
    }
    let first = free.chunks * CHUNK_SLOTS;
    for at in 0..CHUNK_SLOTS {
        let next = if at + 1 < CHUNK_SLOTS { first + at + 2 } else { 0 };
        // Generation 1, so that the very first handles differ from a table of zeros.
        let fresh =
            Slot { word: AtomicU64::new(1 << 32), object: AtomicPtr::new(null_mut()), next_free: AtomicU32::new(next as u32) };
        // SAFETY: within the allocation, which nobody else knows yet.
        unsafe { chunk.add(at).write(fresh) };
    }
    place.store(chunk, Ordering::Release);
    free.chunks += 1;
    free.head = first as u32 + 1;
    Some(())
}

/// Finds the object of a handle and counts a reference on it.
pub(crate) fn acquire(handle: usize) -> Option<NonNull<Header>> {
    let (index, generation) = decode(handle)?;
    let slot = slot(index)?;
    let mut word = slot.word.load(Ordering::Acquire);
    loop {
        let references = word as u32;
        if !generation_matches(word, generation) || references & !DESTROYING == 0 {
            return None;
        }
        match slot.word.compare_exchange_weak(word, word + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return NonNull::new(slot.object.load(Ordering::Relaxed)),
            Err(changed) => word = changed,
        }
    }
}

/// Counts one more reference on an object that is held.
pub(crate) fn add(handle: usize) {
    held_slot(handle).word.fetch_add(1, Ordering::Relaxed);
}

/// Whether there is but one reference on an object that is held.
pub(crate) fn is_only(handle: usize) -> bool {
    held_slot(handle).word.load(Ordering::Acquire) as u32 == 1
}

/// Gives a reference back.
pub(crate) fn release(handle: usize) -> Released {
    let slot = held_slot(handle);
    let mut word = slot.word.load(Ordering::Relaxed);
    loop {
        let (next, result) = match word as u32 {
            1 => (word | u64::from(DESTROYING), Released::Last),
            count if count == DESTROYING | 1 => (word - 1, Released::Free),
            _ => (word - 1, Released::More),
        };
        match slot.word.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return result,
            Err(changed) => word = changed,
        }
    }
}

/// Takes a handle out of use, after [`Released::Free`].
pub(crate) fn retire(handle: usize) {
    let Some((index, _)) = decode(handle) else { return };
    let Some(slot) = slot(index) else { return };
    slot.object.store(null_mut(), Ordering::Relaxed);
    let generation = (slot.word.load(Ordering::Relaxed) >> 32) as u32;
    slot.word.store(u64::from(generation.wrapping_add(1)) << 32, Ordering::Release);
    let mut free = FREE.lock();
    slot.next_free.store(free.head, Ordering::Relaxed);
    free.head = index as u32 + 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_a_non_canonical_address_that_decodes_to_what_it_was_made_of() {
        let handle = encode(0x12345, 0xabcde);
        assert_eq!(decode(handle), Some((0x12345, 0xabcde)));
        let upper = handle >> 47;
        assert!(upper != 0 && upper != 0x1ffff, "a canonical address would not fault");
    }

    #[test]
    fn numbers_that_are_no_handles_do_not_decode() {
        for number in
            [0, 1, 0xffff_8000_0000_1000, usize::MAX, encode(5, 5) | 1, encode(5, 5) ^ 1 << 63, encode(5, 5) + (1 << 26)]
        {
            assert!(decode(number).is_none() || decode(number) == Some((5, 5)), "{number:#x}");
        }
        assert_eq!(decode(encode(5, 5) | 1), None);
    }

    #[test]
    fn handles_of_one_slot_differ_from_generation_to_generation() {
        assert_ne!(encode(7, 1), encode(7, 2));
        assert!(generation_matches(2 << 32 | 1, 2));
        assert!(!generation_matches(2 << 32 | 1, 1));
    }
}
