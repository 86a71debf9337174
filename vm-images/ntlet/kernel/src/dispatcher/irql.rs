//! Raising and lowering the IRQL, as functions. Drivers that were compiled with the DDI headers write CR8 themselves.
#![allow(missing_docs, non_snake_case, clippy::missing_safety_doc, reason = "names and meaning are the DDI documentation's")]

use wdf_sys::wdm::constants::bug_check;

use crate::bug_check::bug_check;
use crate::hal;
use crate::hal::{DISPATCH_LEVEL, Irql, PASSIVE_LEVEL};

/// Something was called above the IRQL that it allows.
pub(crate) fn too_high(irql: Irql) -> ! {
    bug_check(bug_check::IRQL_NOT_LESS_OR_EQUAL, [0, u64::from(irql), 0, 0])
}

/// Bug check unless the IRQL is at most `limit`.
pub(crate) fn at_most(limit: Irql) -> Irql {
    let irql = hal().irql();
    if irql > limit {
        too_high(irql);
    }
    irql
}

/// Raises the IRQL; bug check if it is higher already.
pub(crate) fn raise(to: Irql) -> Irql {
    let hal = hal();
    let irql = hal.irql();
    if irql > to {
        bug_check(bug_check::IRQL_NOT_GREATER_OR_EQUAL, [u64::from(irql), u64::from(to), 0, 0]);
    }
    hal.set_irql(to);
    irql
}

/// Lowers the IRQL; bug check if it is lower already.
pub(crate) fn lower(to: Irql) {
    let hal = hal();
    let irql = hal.irql();
    if irql < to {
        bug_check(bug_check::IRQL_NOT_LESS_OR_EQUAL, [u64::from(irql), u64::from(to), 0, 0]);
    }
    hal.set_irql(to);
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeGetCurrentIrql() -> u8 {
    crate::try_hal().map_or(PASSIVE_LEVEL, |hal| hal.irql())
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KfRaiseIrql(NewIrql: u8) -> u8 {
    raise(NewIrql)
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeLowerIrql(NewIrql: u8) {
    lower(NewIrql);
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KfLowerIrql(NewIrql: u8) {
    lower(NewIrql);
}

#[unsafe(no_mangle)]
pub unsafe extern "win64" fn KeRaiseIrqlToDpcLevel() -> u8 {
    raise(DISPATCH_LEVEL)
}
