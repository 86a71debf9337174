//! What a driver asks and sets of its device's PnP and power.

use core::ffi::c_void;
use core::sync::atomic::Ordering;

use wdf_sys::wdf::*;
use wdf_sys::wdm::constants::{PNP_DEVICE_DISABLED, PNP_DEVICE_FAILED, PNP_DEVICE_REMOVED};
use wdf_sys::{BOOLEAN, NTSTATUS, WDFDEVICE};

use crate::call::{Call, ddi};
use crate::device::Device;
use crate::pnp::idle;
use crate::sync::{DISPATCH_LEVEL, PASSIVE_LEVEL};
use crate::verifier::{self, Rule};

/// `PNP_DEVICE_DONT_DISPLAY_IN_UI`, `PNP_DEVICE_NOT_DISABLEABLE`, `PNP_DEVICE_RESOURCE_REQUIREMENTS_CHANGED`.
const DONT_DISPLAY_IN_UI: u32 = 0x02;
const NOT_DISABLEABLE: u32 = 0x20;
const RESOURCES_CHANGED: u32 = 0x10;

fn with(flags: u32, bit: u32, wish: WDF_TRI_STATE) -> u32 {
    match wish {
        WDF_TRI_STATE::WdfTrue => flags | bit,
        WDF_TRI_STATE::WdfFalse => flags & !bit,
        _ => flags,
    }
}

fn tri_state(flags: u32, bit: u32) -> WDF_TRI_STATE {
    if flags & bit != 0 { WDF_TRI_STATE::WdfTrue } else { WDF_TRI_STATE::WdfFalse }
}

/// Keeps the device in D0, or brings it there.
fn stop_idle(call: &Call, device: WDFDEVICE, wait: bool) -> NTSTATUS {
    call.irql_at_most(if wait { PASSIVE_LEVEL } else { DISPATCH_LEVEL });
    let device = call.object::<Device>(device);
    if !device.pnp.owns_policy {
        return NTSTATUS::INVALID_DEVICE_STATE;
    }
    // Counted first, so that a look at whether the device idles sees it, or has made its power request before.
    device.pnp.keep_awake.fetch_add(1, Ordering::AcqRel);
    loop {
        if idle::want(&device) && device.pnp.is_in_d0() {
            return NTSTATUS::SUCCESS;
        }
        if !device.pnp.is_started() {
            device.pnp.keep_awake.fetch_sub(1, Ordering::AcqRel);
            return idle::POWER_STATE_INVALID;
        }
        if !wait {
            return NTSTATUS::PENDING;
        }
        crate::sync::sleep(POLL_MILLISECONDS);
    }
}

/// How often a caller that waits for D0 looks.
const POLL_MILLISECONDS: u32 = 1;

fn resume_idle(call: &Call, device: WDFDEVICE) {
    let device = call.object::<Device>(device);
    let before = device.pnp.keep_awake.fetch_sub(1, Ordering::AcqRel);
    if before == 1 {
        idle::look_later(&device);
    }
    if before <= 0 && call.globals.verifies() {
        verifier::violation(
            call.globals,
            Rule::WrongState,
            device.any().raw() as usize,
            format_args!("WdfDeviceResumeIdle without a WdfDeviceStopIdle that succeeded"),
        );
    }
}

ddi! {
    fn WdfDeviceStopIdleNoTrack(call, device: WDFDEVICE, wait: BOOLEAN) -> NTSTATUS {
        stop_idle(call, device, wait != 0)
    }

    fn WdfDeviceStopIdleActual(call, device: WDFDEVICE, wait: BOOLEAN, _tag: *mut c_void, _line: i32, _file: *mut i8) -> NTSTATUS {
        stop_idle(call, device, wait != 0)
    }

    fn WdfDeviceResumeIdleNoTrack(call, device: WDFDEVICE) {
        resume_idle(call, device);
    }

    fn WdfDeviceResumeIdleActual(call, device: WDFDEVICE, _tag: *mut c_void, _line: i32, _file: *mut i8) {
        resume_idle(call, device);
    }

    fn WdfDeviceAssignS0IdleSettings(call, device: WDFDEVICE, settings: *mut WDF_DEVICE_POWER_POLICY_IDLE_SETTINGS) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        // Before 1.7 it ended with Enabled, before 1.9 with PowerUpIdleDeviceOnSystemWake, before 1.11 with IdleTimeoutType.
        let outcome = call.sized(settings, &[24, 28, 32]).and_then(|settings| idle::assign(&device, &settings));
        outcome.err().unwrap_or(NTSTATUS::SUCCESS)
    }

    fn WdfDeviceAssignSxWakeSettings(call, device: WDFDEVICE, settings: *mut WDF_DEVICE_POWER_POLICY_WAKE_SETTINGS) -> NTSTATUS {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        // Before 1.7 it ended with Enabled.
        let settings = match call.sized(settings, &[16]) {
            Ok(settings) => settings,
            Err(status) => return status,
        };
        if !device.pnp.owns_policy {
            return NTSTATUS::INVALID_DEVICE_REQUEST;
        }
        // No bus of this machine reports a device that can wake the system; not to be armed is all that can be had.
        if settings.Enabled == WDF_TRI_STATE::WdfFalse { NTSTATUS::SUCCESS } else { idle::POWER_STATE_INVALID }
    }

    fn WdfDeviceIndicateWakeStatus(call, device: WDFDEVICE, _status: NTSTATUS) -> NTSTATUS {
        call.irql_at_most(DISPATCH_LEVEL);
        let _ = call.object::<Device>(device);
        // No wait-wake request is ever pending, by the above.
        NTSTATUS::INVALID_DEVICE_STATE
    }

    fn WdfDeviceGetDeviceState(call, device: WDFDEVICE, state: *mut WDF_DEVICE_STATE) {
        call.irql_at_most(DISPATCH_LEVEL);
        let device = call.object::<Device>(device);
        let Ok(mut copy) = call.sized(state, &[]) else { return };
        let flags = device.state_flags.load(Ordering::Relaxed);
        copy.Disabled = tri_state(flags, PNP_DEVICE_DISABLED);
        copy.DontDisplayInUI = tri_state(flags, DONT_DISPLAY_IN_UI);
        copy.Failed = tri_state(flags, PNP_DEVICE_FAILED);
        copy.NotDisableable = tri_state(flags, NOT_DISABLEABLE);
        copy.Removed = tri_state(flags, PNP_DEVICE_REMOVED);
        copy.ResourcesChanged = tri_state(flags, RESOURCES_CHANGED);
        call.write(state, copy);
    }

    fn WdfDeviceSetDeviceState(call, device: WDFDEVICE, state: *mut WDF_DEVICE_STATE) {
        call.irql_at_most(DISPATCH_LEVEL);
        let device = call.object::<Device>(device);
        let Ok(wish) = call.sized(state, &[]) else { return };
        let change = |flags| {
            let flags = with(flags, PNP_DEVICE_DISABLED, wish.Disabled);
            let flags = with(flags, DONT_DISPLAY_IN_UI, wish.DontDisplayInUI);
            let flags = with(flags, PNP_DEVICE_FAILED, wish.Failed);
            let flags = with(flags, NOT_DISABLEABLE, wish.NotDisableable);
            let flags = with(flags, PNP_DEVICE_REMOVED, wish.Removed);
            Some(with(flags, RESOURCES_CHANGED, wish.ResourcesChanged))
        };
        let _ = device.state_flags.fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
        super::irp::invalidate_state(&device);
    }

    fn WdfDeviceSetFailed(call, device: WDFDEVICE, action: WDF_DEVICE_FAILED_ACTION) {
        call.irql_at_most(DISPATCH_LEVEL);
        let device = call.object::<Device>(device);
        if !(1..=2).contains(&action.0) {
            if call.globals.verifies() {
                verifier::violation(call.globals, Rule::InvalidParameter, device.any().raw() as usize, format_args!(
                    "WdfDeviceSetFailed: {} is no action", action.0));
            }
            return;
        }
        crate::report!(call.globals, "WdfDeviceSetFailed: the driver reports that its device has failed");
        super::irp::fail(&device, action);
    }

    fn WdfDeviceGetDevicePnpState(call, device: WDFDEVICE) -> WDF_DEVICE_PNP_STATE {
        call.object::<Device>(device).pnp.pnp_state()
    }

    fn WdfDeviceGetDevicePowerState(call, device: WDFDEVICE) -> WDF_DEVICE_POWER_STATE {
        call.object::<Device>(device).pnp.power_state()
    }

    fn WdfDeviceGetDevicePowerPolicyState(call, device: WDFDEVICE) -> WDF_DEVICE_POWER_POLICY_STATE {
        call.object::<Device>(device).pnp.policy_state()
    }

    fn WdfDeviceGetSystemPowerAction(call, device: WDFDEVICE) -> i32 {
        call.object::<Device>(device).pnp.system_action.load(Ordering::Relaxed)
    }

    fn WdfDeviceSetStaticStopRemove(call, device: WDFDEVICE, stoppable: BOOLEAN) {
        call.object::<Device>(device).stoppable.store(stoppable != 0, Ordering::Relaxed);
    }

    fn WdfDeviceSetPnpCapabilities(call, device: WDFDEVICE, capabilities: *mut WDF_DEVICE_PNP_CAPABILITIES) {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        let Ok(wish) = call.sized(capabilities, &[]) else { return };
        device.capabilities.lock().pnp = Some(wish);
    }

    fn WdfDeviceSetPowerCapabilities(call, device: WDFDEVICE, capabilities: *mut WDF_DEVICE_POWER_CAPABILITIES) {
        call.irql_at_most(PASSIVE_LEVEL);
        let device = call.object::<Device>(device);
        let Ok(wish) = call.sized(capabilities, &[]) else { return };
        device.capabilities.lock().power = Some(wish);
    }
}
