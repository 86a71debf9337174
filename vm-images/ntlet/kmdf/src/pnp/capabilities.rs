//! What a driver changes of its device's capabilities: WdfDeviceSetPnpCapabilities, WdfDeviceSetPowerCapabilities.

use wdf_sys::wdf::{WDF_DEVICE_PNP_CAPABILITIES, WDF_DEVICE_POWER_CAPABILITIES, WDF_TRI_STATE};
use wdf_sys::wdm::DEVICE_CAPABILITIES;

/// Bits of `DEVICE_CAPABILITIES::Flags`.
mod bit {
    pub(super) const DEVICE_D1: u32 = 1 << 0;
    pub(super) const DEVICE_D2: u32 = 1 << 1;
    pub(super) const LOCK_SUPPORTED: u32 = 1 << 2;
    pub(super) const EJECT_SUPPORTED: u32 = 1 << 3;
    pub(super) const REMOVABLE: u32 = 1 << 4;
    pub(super) const DOCK_DEVICE: u32 = 1 << 5;
    pub(super) const UNIQUE_ID: u32 = 1 << 6;
    pub(super) const SILENT_INSTALL: u32 = 1 << 7;
    pub(super) const SURPRISE_REMOVAL_OK: u32 = 1 << 9;
    pub(super) const WAKE_FROM_D0: u32 = 1 << 10;
    pub(super) const WAKE_FROM_D1: u32 = 1 << 11;
    pub(super) const WAKE_FROM_D2: u32 = 1 << 12;
    pub(super) const WAKE_FROM_D3: u32 = 1 << 13;
    pub(super) const HARDWARE_DISABLED: u32 = 1 << 14;
    pub(super) const NO_DISPLAY_IN_UI: u32 = 1 << 17;
}

/// `PowerDeviceMaximum`, `PowerSystemMaximum`: the driver leaves the value as it is.
const DEVICE_MAXIMUM: i32 = 5;
const SYSTEM_MAXIMUM: i32 = 7;

/// What the driver has set.
#[derive(Clone, Copy, Default)]
pub(crate) struct Overrides {
    pub(crate) pnp: Option<WDF_DEVICE_PNP_CAPABILITIES>,
    pub(crate) power: Option<WDF_DEVICE_POWER_CAPABILITIES>,
}

fn set(flags: &mut u32, bit: u32, wish: WDF_TRI_STATE) {
    match wish {
        WDF_TRI_STATE::WdfTrue => *flags |= bit,
        WDF_TRI_STATE::WdfFalse => *flags &= !bit,
        _ => {}
    }
}

/// Writes the driver's wishes over what the drivers below have answered.
pub(crate) fn apply(overrides: &Overrides, capabilities: &mut DEVICE_CAPABILITIES) {
    if let Some(pnp) = &overrides.pnp {
        let flags = &mut capabilities.Flags;
        for (bit, wish) in [
            (bit::LOCK_SUPPORTED, pnp.LockSupported),
            (bit::EJECT_SUPPORTED, pnp.EjectSupported),
            (bit::REMOVABLE, pnp.Removable),
            (bit::DOCK_DEVICE, pnp.DockDevice),
            (bit::UNIQUE_ID, pnp.UniqueID),
            (bit::SILENT_INSTALL, pnp.SilentInstall),
            (bit::SURPRISE_REMOVAL_OK, pnp.SurpriseRemovalOK),
            (bit::HARDWARE_DISABLED, pnp.HardwareDisabled),
            (bit::NO_DISPLAY_IN_UI, pnp.NoDisplayInUI),
        ] {
            set(flags, bit, wish);
        }
        if pnp.Address != u32::MAX {
            capabilities.Address = pnp.Address;
        }
        if pnp.UINumber != u32::MAX {
            capabilities.UINumber = pnp.UINumber;
        }
    }
    if let Some(power) = &overrides.power {
        let flags = &mut capabilities.Flags;
        for (bit, wish) in [
            (bit::DEVICE_D1, power.DeviceD1),
            (bit::DEVICE_D2, power.DeviceD2),
            (bit::WAKE_FROM_D0, power.WakeFromD0),
            (bit::WAKE_FROM_D1, power.WakeFromD1),
            (bit::WAKE_FROM_D2, power.WakeFromD2),
            (bit::WAKE_FROM_D3, power.WakeFromD3),
        ] {
            set(flags, bit, wish);
        }
        for (state, wish) in capabilities.DeviceState.iter_mut().zip(power.DeviceState) {
            if wish != DEVICE_MAXIMUM {
                *state = wish;
            }
        }
        for (value, wish, nothing) in [
            (&mut capabilities.DeviceWake, power.DeviceWake, DEVICE_MAXIMUM),
            (&mut capabilities.SystemWake, power.SystemWake, SYSTEM_MAXIMUM),
        ] {
            if wish != nothing {
                *value = wish;
            }
        }
        for (value, wish) in [
            (&mut capabilities.D1Latency, power.D1Latency),
            (&mut capabilities.D2Latency, power.D2Latency),
            (&mut capabilities.D3Latency, power.D3Latency),
        ] {
            if wish != u32::MAX {
                *value = wish;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_leaves_at_use_default_stays_as_the_bus_said() {
        let mut pnp = WDF_DEVICE_PNP_CAPABILITIES::zeroed();
        for wish in [
            &mut pnp.LockSupported,
            &mut pnp.EjectSupported,
            &mut pnp.DockDevice,
            &mut pnp.UniqueID,
            &mut pnp.SilentInstall,
            &mut pnp.SurpriseRemovalOK,
            &mut pnp.HardwareDisabled,
            &mut pnp.NoDisplayInUI,
        ] {
            *wish = WDF_TRI_STATE::WdfUseDefault;
        }
        pnp.Removable = WDF_TRI_STATE::WdfFalse;
        pnp.SurpriseRemovalOK = WDF_TRI_STATE::WdfTrue;
        (pnp.Address, pnp.UINumber) = (u32::MAX, 7);
        let mut answered =
            DEVICE_CAPABILITIES { Flags: bit::REMOVABLE | bit::UNIQUE_ID, Address: 3, ..DEVICE_CAPABILITIES::zeroed() };

        apply(&Overrides { pnp: Some(pnp), power: None }, &mut answered);

        assert_eq!(answered.Flags, bit::UNIQUE_ID | bit::SURPRISE_REMOVAL_OK);
        assert_eq!((answered.Address, answered.UINumber), (3, 7));
    }
}
