//! Who is told of what happens: the executive, or in a self-test build the tests.

#[cfg(not(feature = "self-test"))]
pub(crate) use kernel::{
    entry::{
        clock_interrupt, device_interrupt, exception, held, software_interrupt, start, start_processor, stopped, system_call,
    },
    is_ready_for_processors,
};

#[cfg(feature = "self-test")]
pub(crate) use crate::self_test::{
    clock_interrupt, device_interrupt, exception, held, is_ready_for_processors, software_interrupt, start, start_processor,
    stopped, system_call,
};
