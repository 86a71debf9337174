//! What belongs to a device, in the fake table: it is made, and what is asked of it is written down.

use wdf_sys::wdf::{WDF_DPC_CONFIG, WDF_IO_TARGET_OPEN_PARAMS, WDF_TIMER_CONFIG, WDF_WORKITEM_CONFIG};

use super::*;

/// Makes what belongs to `parent`, unless `function` is to fail for that.
fn make_for(parent: Handle, function: &'static str, attributes: *const WDF_OBJECT_ATTRIBUTES, place: *mut Handle) -> i32 {
    let status = record(parent, function, "");
    if status < 0 {
        return status;
    }
    make(attributes, place);
    // SAFETY: `make` wrote the handle.
    let made = unsafe { *place } as usize;
    with(parent as usize, |parent| parent.children.push(made));
    status
}

fn parent_in(attributes: *const WDF_OBJECT_ATTRIBUTES) -> Handle {
    // SAFETY: the crate passes valid attributes.
    unsafe { (*attributes).ParentObject.0 }
}

macro_rules! table {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block)*) => {
        $(
            #[allow(non_snake_case)]
            extern "win64" fn $name(_: Globals, $($argument: $type),*) $(-> $result)? $body
        )*

        pub(super) fn install(table: &mut [*const c_void]) {
            $(table[index::$name] = $name as *const c_void;)*
        }
    };
}

type Attributes = *const WDF_OBJECT_ATTRIBUTES;

table! {
    WdfIoQueueCreate(device: Handle, _config: Handle, attributes: Attributes, place: *mut Handle) -> i32 {
        make_for(device, "CreateQueue", attributes, place)
    }
    WdfIoQueueGetState(queue: Handle, queued: *mut u32, presented: *mut u32) -> i32 {
        // SAFETY: the crate passes places for both.
        unsafe { (queued.write(3), presented.write(2)) };
        record(queue, "State", "");
        3
    }
    WdfIoQueueRetrieveNextRequest(queue: Handle, _place: *mut Handle) -> i32 {
        record(queue, "Retrieve", "");
        NTSTATUS::NO_MORE_ENTRIES.0
    }
    WdfTimerCreate(_config: *const WDF_TIMER_CONFIG, attributes: Attributes, place: *mut Handle) -> i32 {
        make_for(parent_in(attributes), "CreateTimer", attributes, place)
    }
    WdfTimerStart(timer: Handle, due: i64) -> u8 { record(timer, "Start", &format!(" {due}")) as u8 }
    WdfTimerStop(timer: Handle, _wait: u8) -> u8 { record(timer, "Stop", "") as u8 }
    WdfDpcCreate(_config: *const WDF_DPC_CONFIG, attributes: Attributes, place: *mut Handle) -> i32 {
        make_for(parent_in(attributes), "CreateDpc", attributes, place)
    }
    WdfDpcEnqueue(dpc: Handle) -> u8 { record(dpc, "Enqueue", "") as u8 }
    WdfWorkItemCreate(_config: *const WDF_WORKITEM_CONFIG, attributes: Attributes, place: *mut Handle) -> i32 {
        make_for(parent_in(attributes), "CreateWorkItem", attributes, place)
    }
    WdfWorkItemEnqueue(item: Handle) { record(item, "Enqueue", ""); }
    WdfInterruptCreate(device: Handle, _config: Handle, attributes: Attributes, place: *mut Handle) -> i32 {
        make_for(device, "CreateInterrupt", attributes, place)
    }
    WdfDmaEnablerCreate(device: Handle, _config: Handle, attributes: Attributes, place: *mut Handle) -> i32 {
        make_for(device, "CreateEnabler", attributes, place)
    }
    WdfCommonBufferCreate(enabler: Handle, length: usize, attributes: Attributes, place: *mut Handle) -> i32 {
        let status = make_for(enabler, "CreateBuffer", attributes, place);
        // SAFETY: `make_for` wrote the handle.
        let made = unsafe { *place } as usize;
        let memory = Box::leak(vec![0xff_u8; length].into_boxed_slice()).as_mut_ptr() as usize;
        with(made, |object| object.contexts.insert(0, memory));
        status
    }
    WdfCommonBufferGetAlignedVirtualAddress(buffer: Handle) -> Handle { with(buffer as usize, |object| object.contexts[&0] as Handle) }
    WdfCommonBufferGetAlignedLogicalAddress(_buffer: Handle) -> i64 { 0x1_0000 }
    WdfIoTargetCreate(device: Handle, attributes: Attributes, place: *mut Handle) -> i32 {
        make_for(device, "CreateTarget", attributes, place)
    }
    WdfIoTargetOpen(target: Handle, _parameters: *const WDF_IO_TARGET_OPEN_PARAMS) -> i32 { record(target, "Open", "") }
    WdfIoTargetClose(target: Handle) { record(target, "Close", ""); }
}
