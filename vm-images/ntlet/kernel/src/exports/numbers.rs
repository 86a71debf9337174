//! Random numbers, identities, and bits of numbers.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use wdf_sys::{GUID, NTSTATUS};

use crate::hal;

/// A linear congruential generator, as documented: the seed is the state, the result has 31 bits.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlRandomEx(Seed: *mut u32) -> u32 {
    // SAFETY: the caller's promise: a seed.
    unsafe {
        let mut state = u64::from(*Seed) + 0x9e37_79b9_7f4a_7c15;
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *Seed = (state >> 16) as u32 & 0x7fff_ffff;
        *Seed
    }
}

/// A linear congruential generator of numbers below 2^31 - 1, with the constants that `RtlUniform` is documented with.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlRandom(Seed: *mut u32) -> u32 {
    const MODULUS: u64 = 0x7fff_ffff;
    // SAFETY: the caller's promise: a place for a number.
    unsafe {
        let next = (u64::from(*Seed) * 0x7fff_ffed + 0x7fff_ffc3) % MODULUS;
        *Seed = next as u32;
        next as u32
    }
}

/// A GUID of version 4.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn ExUuidCreate(Uuid: *mut GUID) -> NTSTATUS {
    static LAST: core::sync::atomic::AtomicU64 = core::sync::atomic::AtomicU64::new(0);
    let mix = |value: u64| {
        let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    };
    let (counter, _) = hal().performance_counter();
    let number = LAST.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
    let (high, low) = (mix(counter ^ number << 48), mix(counter.rotate_left(32).wrapping_add(number)));
    let [a, b, rest @ ..] = low.to_le_bytes();
    let bytes = [a & 0x3f | 0x80, b, rest[0], rest[1], rest[2], rest[3], rest[4], rest[5]];
    // SAFETY: the caller's promise: a place for a GUID.
    unsafe { Uuid.write(GUID::new(((high >> 32) as u32, (high >> 16) as u16, high as u16 & 0x0fff | 0x4000, bytes))) };
    NTSTATUS::SUCCESS
}

/// Number of the lowest bit that is set; -1 for none.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlFindLeastSignificantBit(Set: u64) -> i8 {
    if Set == 0 { -1 } else { Set.trailing_zeros() as i8 }
}

/// Number of the highest bit that is set; -1 for none.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn RtlFindMostSignificantBit(Set: u64) -> i8 {
    if Set == 0 { -1 } else { 63 - Set.leading_zeros() as i8 }
}
