//! `SeExports`: who and what is well known, and privileges.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use core::ffi::c_void;

use wdf_sys::BOOLEAN;

use super::REVISION;
use super::sid::SID_HEADER;

/// Most sub-authorities of a SID here.
const MOST: usize = 6;

/// A SID, with room for more than it has.
#[derive(Debug)]
#[repr(C, align(8))]
struct Sid {
    header: [u8; SID_HEADER],
    sub_authorities: [u32; MOST],
}

const fn sid(authority: u8, sub_authorities: &[u32]) -> Sid {
    let mut filled = [0; MOST];
    filled.split_at_mut(sub_authorities.len()).0.copy_from_slice(sub_authorities);
    Sid { header: [REVISION, sub_authorities.len() as u8, 0, 0, 0, 0, 0, authority], sub_authorities: filled }
}

/// In the order of `SE_EXPORTS`.
#[rustfmt::skip]
static SIDS: [Sid; 34] = [
    sid(0, &[0]), // null
    sid(1, &[0]), // world
    sid(2, &[0]), // local
    sid(3, &[0]), // creator owner
    sid(3, &[1]), // creator group
    sid(5, &[]), // NT authority
    sid(5, &[1]), // dialup
    sid(5, &[2]), // network
    sid(5, &[3]), // batch
    sid(5, &[4]), // interactive
    sid(5, &[18]), // local system
    sid(5, &[32, 544]), // administrators
    sid(5, &[32, 545]), // users
    sid(5, &[32, 546]), // guests
    sid(5, &[32, 547]), // power users
    sid(5, &[32, 548]), // account operators
    sid(5, &[32, 549]), // system operators
    sid(5, &[32, 550]), // print operators
    sid(5, &[32, 551]), // backup operators
    sid(5, &[11]), // authenticated users
    sid(5, &[12]), // restricted
    sid(5, &[7]), // anonymous
    sid(5, &[19]), // local service
    sid(5, &[20]), // network service
    sid(5, &[17]), // IUSR
    sid(16, &[0]), // untrusted
    sid(16, &[4096]), // low
    sid(16, &[8192]), // medium
    sid(16, &[12288]), // high
    sid(16, &[16384]), // system
    sid(3, &[4]), // owner rights
    sid(15, &[2, 1]), // all application packages
    sid(5, &[84, 0, 0, 0, 0, 0]), // user-mode drivers
    sid(5, &[80, 956008885, 3418522649, 1831038044, 1853292631, 2271478464]), // trusted installer
];

/// Whom programs and drivers run as, and the groups it belongs to: local system, administrators, world, authenticated users.
pub(super) fn caller() -> [*const c_void; 4] {
    [10, 11, 1, 19].map(|index: usize| (&raw const SIDS[index]).cast())
}

/// A member of `SE_EXPORTS`: a privilege's number, or the address of a SID. Both fill eight bytes.
#[derive(Clone, Copy)]
#[repr(C)]
union Member {
    privilege: u64,
    sid: *const Sid,
}

/// `SE_EXPORTS`.
#[repr(transparent)]
struct Exports([Member; MEMBERS]);

// SAFETY: numbers, and addresses of statics, which nobody changes.
unsafe impl Sync for Exports {}

/// Members, in order: so many privileges from a number on, or so many SIDs from an index on.
const RUNS: [(Run, usize); 11] = [
    // Token, primary token, locked memory, quota, machine account, system, security, ownership, drivers.
    (Run::Privileges(2), 9),
    // Page files, base priority, and system profile and time, which do not stand in the order of their numbers.
    (Run::Privileges(15), 1),
    (Run::Privileges(14), 1),
    (Run::Privileges(11), 3),
    // Permanent objects, backup, restore, shutdown, debug, audit, environment, notification, remote shutdown.
    (Run::Privileges(16), 9),
    (Run::Sids(0), 22),
    // Undocking, synchronisation, delegation.
    (Run::Privileges(25), 3),
    (Run::Sids(22), 2),
    // Volumes, impersonation, global objects, credentials, labels, working sets, time zones, symbolic links.
    (Run::Privileges(28), 8),
    (Run::Sids(24), 10),
    // Another session's user.
    (Run::Privileges(36), 1),
];
const MEMBERS: usize = {
    let (mut count, mut at) = (0, 0);
    while at < RUNS.len() {
        count += RUNS[at].1;
        at += 1;
    }
    count
};

#[derive(Clone, Copy)]
enum Run {
    Privileges(u64),
    Sids(usize),
}

static MEMBERS_IN_ORDER: Exports = {
    let mut members = [Member { privilege: 0 }; MEMBERS];
    let (mut run, mut filled) = (0, 0);
    while run < RUNS.len() {
        let (what, count) = RUNS[run];
        let mut at = 0;
        while at < count {
            members[filled] = match what {
                Run::Privileges(first) => Member { privilege: first + at as u64 },
                Run::Sids(first) => Member { sid: &raw const SIDS[first + at] },
            };
            at += 1;
            filled += 1;
        }
        run += 1;
    }
    Exports(members)
};

/// A pointer that drivers read.
#[repr(transparent)]
pub(crate) struct Pointer(*const Exports);

// SAFETY: the address of a static that nobody changes.
unsafe impl Sync for Pointer {}

/// `SeExports`.
pub(crate) static EXPORTS: Pointer = Pointer(&raw const MEMBERS_IN_ORDER);

/// Whether the caller holds a privilege. Whoever runs here is the local system, which holds every one.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "win64" fn SeSinglePrivilegeCheck(_PrivilegeValue: i64, _PreviousMode: i8) -> BOOLEAN {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the documentation of `SE_EXPORTS`, each member eight bytes.
    #[test]
    fn privileges_and_sids_stand_where_drivers_look_for_them() {
        let member = |index: usize| MEMBERS_IN_ORDER.0[index];
        // SAFETY: a privilege or a SID, as the documentation says of each place.
        unsafe {
            for (index, privilege) in
                [(0, 2), (8, 10), (9, 15), (10, 14), (11, 11), (13, 13), (14, 16), (18, 20), (22, 24), (45, 25)]
            {
                assert_eq!(member(index).privilege, privilege, "member {index}");
            }
            assert_eq!((*member(33).sid).header, [1, 1, 0, 0, 0, 0, 0, 5]);
            assert_eq!((*member(33).sid).sub_authorities[0], 18, "the local system");
            assert_eq!((&(*member(34).sid).sub_authorities)[..2], [32, 544], "administrators");
            assert_eq!((*member(48).sid).sub_authorities[0], 19, "the local service");
            assert_eq!(member(50).privilege, 28);
            assert_eq!((*member(58).sid).sub_authorities[0], 17, "IUSR");
            assert_eq!(member(68).privilege, 36);
        }
        assert_eq!(MEMBERS, 69);
    }
}
