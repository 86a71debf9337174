//! Push locks (`EX_PUSH_LOCK`): one word; one writer or many readers, not recursive. Whoever waits is served in the order of coming, and
//! finds the lock its own when it wakes.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use alloc::vec::Vec;

use wdf_sys::wdm::KEVENT;
use wdf_sys::{BOOLEAN, FALSE};

use super::thread;
use super::wait::{self, kind};
use super::{event, irql};
use crate::bug_check::bug_check;
use crate::hal::APC_LEVEL;
use crate::lock::SpinLock;

/// Bug check: a lock was released by a thread that cannot have it.
const RESOURCE_NOT_OWNED: u32 = 0xe3;

/// The word while there is a writer; otherwise it is twice the number of readers.
const WRITER: usize = 1;
const READER: usize = 2;

#[derive(Clone, Copy, PartialEq)]
enum Want {
    Write,
    Read,
}

struct Waiter {
    lock: usize,
    want: Want,
    /// Of the waiting thread's stack, which waits for it.
    event: *mut KEVENT,
}

// SAFETY: the event is used through the dispatcher's functions, and outlives the wait.
unsafe impl Send for Waiter {}

/// Everybody who waits for any of these locks, and the lock over all their words: what is done under it is a few instructions long.
static WAITERS: SpinLock<Vec<Waiter>> = SpinLock::new(Vec::new());

/// Takes the lock if it is free for that; a word is changed with the list locked alone.
fn take(word: &mut usize, want: Want) -> bool {
    match want {
        Want::Write if *word == 0 => *word = WRITER,
        Want::Read if *word & WRITER == 0 => *word += READER,
        _ => return false,
    }
    true
}

/// # Safety
/// `lock` is an initialised push lock.
unsafe fn acquire(lock: *mut usize, want: Want) {
    irql::at_most(APC_LEVEL);
    let mut done = KEVENT::zeroed();
    // SAFETY: the event stays on this stack until it has been set; the word is the caller's promise, under the lock.
    unsafe {
        event::initialize(&raw mut done, kind::SYNCHRONIZATION_EVENT, false);
        {
            let mut waiters = WAITERS.lock();
            let is_awaited = waiters.iter().any(|waiter| waiter.lock == lock.addr());
            if !is_awaited && take(&mut *lock, want) {
                return;
            }
            waiters.push(Waiter { lock: lock.addr(), want, event: &raw mut done });
        }
        let _ = wait::for_one((&raw mut done).cast(), None);
    }
}

/// # Safety
/// `lock` is an initialised push lock.
unsafe fn release(lock: *mut usize, want: Want) {
    let mut served = Vec::new();
    {
        let mut waiters = WAITERS.lock();
        // SAFETY: the caller's promise, under the lock.
        let word = unsafe { &mut *lock };
        match want {
            Want::Write if *word == WRITER => *word = 0,
            Want::Read if *word >= READER && *word & WRITER == 0 => *word -= READER,
            _ => bug_check(RESOURCE_NOT_OWNED, [lock.addr() as u64, thread::current().addr() as u64, *word as u64, 0]),
        }
        while let Some(at) = waiters.iter().position(|waiter| waiter.lock == lock.addr()) {
            if !take(word, waiters[at].want) {
                break;
            }
            served.push(waiters.remove(at));
        }
    }
    for waiter in served {
        // SAFETY: its thread waits for the event.
        unsafe { event::KeSetEvent(waiter.event, 0, FALSE) };
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExInitializePushLock(PushLock: *mut usize) {
    // SAFETY: the caller's promise: a place for a lock.
    unsafe { PushLock.write(0) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquirePushLockExclusiveEx(PushLock: *mut usize, _Flags: u32) {
    // SAFETY: the caller's promise.
    unsafe { acquire(PushLock, Want::Write) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExAcquirePushLockSharedEx(PushLock: *mut usize, _Flags: u32) {
    // SAFETY: the caller's promise.
    unsafe { acquire(PushLock, Want::Read) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExTryAcquirePushLockExclusiveEx(PushLock: *mut usize, _Flags: u32) -> BOOLEAN {
    let waiters = WAITERS.lock();
    // SAFETY: the caller's promise, under the lock.
    let is_taken = unsafe { take(&mut *PushLock, Want::Write) };
    drop(waiters);
    is_taken.into()
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleasePushLockExclusiveEx(PushLock: *mut usize, _Flags: u32) {
    // SAFETY: the caller's promise.
    unsafe { release(PushLock, Want::Write) };
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn ExReleasePushLockSharedEx(PushLock: *mut usize, _Flags: u32) {
    // SAFETY: the caller's promise.
    unsafe { release(PushLock, Want::Read) };
}
