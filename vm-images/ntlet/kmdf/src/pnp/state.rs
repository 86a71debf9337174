//! States that drivers can ask for and be told of. The sequences pass through those documented states that a driver can tell apart; the
//! many that are internal to Windows' framework are never shown.

use core::sync::atomic::Ordering;

use wdf_sys::wdf::*;

use crate::device::Device;
use crate::device_init::StateCallback;
use crate::history::Event;
use crate::object::Ref;

const ENTER: u32 = WDF_STATE_NOTIFICATION_TYPE::StateNotificationEnterState.0 as u32;
const POST: u32 = WDF_STATE_NOTIFICATION_TYPE::StateNotificationPostProcessState.0 as u32;
const LEAVE: u32 = WDF_STATE_NOTIFICATION_TYPE::StateNotificationLeaveState.0 as u32;

/// Moves the PnP state on, and tells the driver's state callbacks.
pub(crate) fn set_pnp(device: &Ref<Device>, new: WDF_DEVICE_PNP_STATE) {
    let old = WDF_DEVICE_PNP_STATE(device.pnp.pnp_state.load(Ordering::Acquire));
    tell_pnp(device, old, LEAVE, new);
    tell_pnp(device, new, ENTER, old);
    device.pnp.pnp_state.store(new.0, Ordering::Release);
    device.any().globals().history.record(Event::PnpState, device.any().raw() as usize, old.0 as usize, new.0 as usize);
    tell_pnp(device, new, POST, new);
}

/// Moves the power state on, and tells the driver's state callbacks.
pub(crate) fn set_power(device: &Ref<Device>, new: WDF_DEVICE_POWER_STATE) {
    let old = WDF_DEVICE_POWER_STATE(device.pnp.power_state.load(Ordering::Acquire));
    tell_power(device, old, LEAVE, new);
    tell_power(device, new, ENTER, old);
    device.pnp.power_state.store(new.0, Ordering::Release);
    device.any().globals().history.record(Event::PowerState, device.any().raw() as usize, old.0 as usize, new.0 as usize);
    tell_power(device, new, POST, new);
}

/// Moves the power policy state on.
pub(crate) fn set_policy(device: &Ref<Device>, new: WDF_DEVICE_POWER_POLICY_STATE) {
    let old = WDF_DEVICE_POWER_POLICY_STATE(device.pnp.policy_state.swap(new.0, Ordering::AcqRel));
    for callback in &device.settings.state_callbacks {
        if let StateCallback::Policy(state, Some(callback), types) = *callback
            && state == new
            && types & ENTER != 0
        {
            let mut data = WDF_DEVICE_POWER_POLICY_NOTIFICATION_DATA::zeroed();
            data.Type = WDF_STATE_NOTIFICATION_TYPE::StateNotificationEnterState;
            data.Data.EnterState = WDF_DEVICE_POWER_POLICY_NOTIFICATION_DATA_Data_EnterState { CurrentState: old, NewState: new };
            // SAFETY: the driver's callback, with data that lives through the call.
            device.any().guarded(callback as usize, || unsafe { callback(device.handle(), &data) });
        }
    }
}

fn tell_pnp(device: &Ref<Device>, state: WDF_DEVICE_PNP_STATE, kind: u32, other: WDF_DEVICE_PNP_STATE) {
    for callback in &device.settings.state_callbacks {
        let StateCallback::Pnp(wanted, Some(callback), types) = *callback else { continue };
        if wanted != state || types & kind == 0 {
            continue;
        }
        let mut data = WDF_DEVICE_PNP_NOTIFICATION_DATA::zeroed();
        data.Type = WDF_STATE_NOTIFICATION_TYPE(kind as i32);
        match kind {
            ENTER => {
                data.Data.EnterState = WDF_DEVICE_PNP_NOTIFICATION_DATA_Data_EnterState { CurrentState: other, NewState: state };
            }
            LEAVE => {
                data.Data.LeaveState = WDF_DEVICE_PNP_NOTIFICATION_DATA_Data_LeaveState { CurrentState: state, NewState: other };
            }
            _ => data.Data.PostProcessState = WDF_DEVICE_PNP_NOTIFICATION_DATA_Data_PostProcessState { CurrentState: state },
        }
        // SAFETY: the driver's callback, with data that lives through the call.
        device.any().guarded(callback as usize, || unsafe { callback(device.handle(), &data) });
    }
}

fn tell_power(device: &Ref<Device>, state: WDF_DEVICE_POWER_STATE, kind: u32, other: WDF_DEVICE_POWER_STATE) {
    for callback in &device.settings.state_callbacks {
        let StateCallback::Power(wanted, Some(callback), types) = *callback else { continue };
        if wanted != state || types & kind == 0 {
            continue;
        }
        let mut data = WDF_DEVICE_POWER_NOTIFICATION_DATA::zeroed();
        data.Type = WDF_STATE_NOTIFICATION_TYPE(kind as i32);
        match kind {
            ENTER => {
                data.Data.EnterState =
                    WDF_DEVICE_POWER_NOTIFICATION_DATA_Data_EnterState { CurrentState: other, NewState: state };
            }
            LEAVE => {
                data.Data.LeaveState =
                    WDF_DEVICE_POWER_NOTIFICATION_DATA_Data_LeaveState { CurrentState: state, NewState: other };
            }
            _ => data.Data.PostProcessState = WDF_DEVICE_POWER_NOTIFICATION_DATA_Data_PostProcessState { CurrentState: state },
        }
        // SAFETY: the driver's callback, with data that lives through the call.
        device.any().guarded(callback as usize, || unsafe { callback(device.handle(), &data) });
    }
}
