//! Functions that belong to no object.

use wdf_sys::wdm::functions::{DbgBreakPoint, KeBugCheckEx};

use crate::call::ddi;

ddi! {
    fn WdfVerifierDbgBreakPoint(call) {
        crate::report!(call.globals, "WdfVerifierDbgBreakPoint");
        // SAFETY: breaks into the debugger, as the driver asks.
        unsafe { DbgBreakPoint() };
    }

    fn WdfVerifierKeBugCheck(call, code: u32, first: usize, second: usize, third: usize, fourth: usize) {
        crate::report!(call.globals, "WdfVerifierKeBugCheck({code:#x})");
        // SAFETY: stops the machine, as the driver asks.
        unsafe { KeBugCheckEx(code, first, second, third, fourth) }
    }
}
