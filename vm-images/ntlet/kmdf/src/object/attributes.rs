//! `WDF_OBJECT_ATTRIBUTES` as a driver passes them, checked and copied.

use wdf_sys::wdf::{WDF_EXECUTION_LEVEL, WDF_OBJECT_ATTRIBUTES, WDF_OBJECT_CONTEXT_TYPE_INFO, WDF_SYNCHRONIZATION_SCOPE};
use wdf_sys::{NTSTATUS, WDFOBJECT};

use super::AnyRef;
use super::context::WantedContext;
use crate::call::Call;

/// Whether the driver names the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ParentRule {
    /// It may; there is a default.
    Optional,
    /// It must not.
    Forbidden,
    /// It must: there is no default.
    Required,
}

/// What attributes an object type takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) parent: ParentRule,
    /// An execution level may be given.
    pub(crate) execution_level: bool,
    /// A synchronization scope may be given.
    pub(crate) synchronization_scope: bool,
}

impl Rules {
    /// Most types: a parent may be named, callbacks are not synchronised.
    pub(crate) const ORDINARY: Self = Self { parent: ParentRule::Optional, execution_level: false, synchronization_scope: false };
    /// Timers, DPCs, work items: the driver names the parent.
    pub(crate) const PARENT_REQUIRED: Self = Self { parent: ParentRule::Required, ..Self::ORDINARY };
    /// Types that the framework places.
    pub(crate) const PARENT_FORBIDDEN: Self = Self { parent: ParentRule::Forbidden, ..Self::ORDINARY };
    /// Driver and device objects.
    pub(crate) const SYNCHRONIZED: Self =
        Self { parent: ParentRule::Forbidden, execution_level: true, synchronization_scope: true };
}

/// Attributes of an object to be created.
#[derive(Clone)]
pub(crate) struct Attributes {
    /// The parent that the driver named.
    pub(crate) parent: Option<AnyRef>,
    pub(crate) execution_level: WDF_EXECUTION_LEVEL,
    pub(crate) synchronization_scope: WDF_SYNCHRONIZATION_SCOPE,
    /// Context and callbacks; `None` when the driver wants neither.
    pub(crate) context: Option<WantedContext>,
}

// SAFETY: the only raw pointer is the identity of a context type, which is compared and never written through.
unsafe impl Send for Attributes {}
// SAFETY: as above.
unsafe impl Sync for Attributes {}

impl Attributes {
    /// What WDF_NO_OBJECT_ATTRIBUTES stands for.
    pub(crate) const NONE: Self = Self {
        parent: None,
        execution_level: WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent,
        synchronization_scope: WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeInheritFromParent,
        context: None,
    };

    /// Reads and checks what the driver passed.
    ///
    /// # Errors
    /// Those of the page "Framework Object Creation Errors".
    pub(crate) fn read(call: &Call, pointer: *const WDF_OBJECT_ATTRIBUTES, rules: Rules) -> Result<Self, NTSTATUS> {
        let Some(given) = call.optional(pointer) else {
            return if rules.parent == ParentRule::Required { Err(NTSTATUS::WDF_PARENT_NOT_SPECIFIED) } else { Ok(Self::NONE) };
        };
        if given.Size as usize != size_of::<WDF_OBJECT_ATTRIBUTES>() {
            return Err(NTSTATUS::INFO_LENGTH_MISMATCH);
        }
        let level = checked_level(given.ExecutionLevel, rules)?;
        let scope = checked_scope(given.SynchronizationScope, rules)?;
        let parent = checked_parent(call, given.ParentObject, rules)?;
        Ok(Self { parent, execution_level: level, synchronization_scope: scope, context: wanted_context(call, given)? })
    }

    /// The level and scope of an object below `parent`.
    pub(crate) fn resolve(&self, parent: Option<&AnyRef>) -> (WDF_EXECUTION_LEVEL, WDF_SYNCHRONIZATION_SCOPE) {
        let level = match self.execution_level {
            WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent => {
                parent.map_or(WDF_EXECUTION_LEVEL::WdfExecutionLevelDispatch, AnyRef::execution_level)
            }
            level => level,
        };
        let scope = match self.synchronization_scope {
            WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeInheritFromParent => {
                parent.map_or(WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeNone, AnyRef::synchronization_scope)
            }
            scope => scope,
        };
        (level, scope)
    }
}

fn checked_level(level: WDF_EXECUTION_LEVEL, rules: Rules) -> Result<WDF_EXECUTION_LEVEL, NTSTATUS> {
    match level {
        WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent => Ok(level),
        WDF_EXECUTION_LEVEL::WdfExecutionLevelPassive | WDF_EXECUTION_LEVEL::WdfExecutionLevelDispatch
            if rules.execution_level =>
        {
            Ok(level)
        }
        _ => Err(NTSTATUS::WDF_EXECUTION_LEVEL_INVALID),
    }
}

fn checked_scope(scope: WDF_SYNCHRONIZATION_SCOPE, rules: Rules) -> Result<WDF_SYNCHRONIZATION_SCOPE, NTSTATUS> {
    match scope {
        WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeInheritFromParent => Ok(scope),
        WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeDevice
        | WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeQueue
        | WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeNone
            if rules.synchronization_scope =>
        {
            Ok(scope)
        }
        _ => Err(NTSTATUS::WDF_SYNCHRONIZATION_SCOPE_INVALID),
    }
}

fn checked_parent(call: &Call, parent: WDFOBJECT, rules: Rules) -> Result<Option<AnyRef>, NTSTATUS> {
    match (rules.parent, parent.is_null()) {
        (ParentRule::Required, true) => Err(NTSTATUS::WDF_PARENT_NOT_SPECIFIED),
        (ParentRule::Forbidden, false) => Err(NTSTATUS::WDF_PARENT_ASSIGNMENT_NOT_ALLOWED),
        (_, true) => Ok(None),
        (_, false) => Ok(Some(call.any(parent))),
    }
}

/// The context that attributes ask for.
pub(crate) fn wanted_context(call: &Call, given: &WDF_OBJECT_ATTRIBUTES) -> Result<Option<WantedContext>, NTSTATUS> {
    let (cleanup, destroy) = (given.EvtCleanupCallback, given.EvtDestroyCallback);
    let Some(info) = call.optional(given.ContextTypeInfo) else {
        if given.ContextSizeOverride != 0 {
            return Err(NTSTATUS::OBJECT_NAME_INVALID);
        }
        let callbacks = cleanup.is_some() || destroy.is_some();
        return Ok(callbacks.then_some(WantedContext { unique_type: core::ptr::null(), size: 0, cleanup, destroy }));
    };
    if info.Size as usize != size_of::<WDF_OBJECT_CONTEXT_TYPE_INFO>() {
        return Err(NTSTATUS::INFO_LENGTH_MISMATCH);
    }
    if info.ContextName.is_null() {
        return Err(NTSTATUS::OBJECT_NAME_INVALID);
    }
    if given.ContextSizeOverride != 0 && given.ContextSizeOverride < info.ContextSize {
        return Err(NTSTATUS::INVALID_PARAMETER);
    }
    let size = if given.ContextSizeOverride == 0 { info.ContextSize } else { given.ContextSizeOverride };
    Ok(Some(WantedContext { unique_type: unique_type(info), size, cleanup, destroy }))
}

/// The identity of a context type: the same for every copy of its description in a driver.
pub(crate) fn unique_type(info: &WDF_OBJECT_CONTEXT_TYPE_INFO) -> *const WDF_OBJECT_CONTEXT_TYPE_INFO {
    if let Some(get) = info.EvtDriverGetUniqueContextType {
        // SAFETY: a function that the driver's own type description names, without arguments.
        return unsafe { get() };
    }
    if info.UniqueType.is_null() { info } else { info.UniqueType }
}
