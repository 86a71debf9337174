//! The namespace: directories, symbolic links, and the walk along a path.

use alloc::vec::Vec;

use wdf_sys::NTSTATUS;

use super::name::{self, SEPARATOR};
use super::{ObjectRef, ObjectType};
use crate::lock::SpinLock;

/// Directories of names.
pub(crate) static DIRECTORY: ObjectType = ObjectType::of::<Directory>("Directory");
/// Names that stand for other names.
pub(crate) static SYMBOLIC_LINK: ObjectType = ObjectType::of::<SymbolicLink>("SymbolicLink");

/// Most symbolic links on one walk.
const MAX_LINKS: usize = 32;
/// Longest path, in units, after links were followed.
const MAX_PATH: usize = 0x7fff;
/// Most names in one directory.
const MAX_ENTRIES: usize = 1 << 16;

/// Body of a directory object.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Ordered by name.
    entries: SpinLock<Vec<(Vec<u16>, ObjectRef)>>,
}

/// Body of a symbolic link object.
#[derive(Debug)]
pub(crate) struct SymbolicLink {
    /// The full path it stands for.
    pub(crate) target: Vec<u16>,
}

/// Where a walk ended: at the object, and the rest of the path that is the object's own matter.
#[derive(Debug)]
pub(crate) struct Found {
    /// The object.
    pub(crate) object: ObjectRef,
    /// What follows its name, beginning with a backslash, or empty.
    pub(crate) rest: Vec<u16>,
}

impl Directory {
    /// A new directory object.
    pub(crate) fn create() -> Result<ObjectRef, NTSTATUS> {
        ObjectRef::new(&DIRECTORY, Self { entries: SpinLock::new(Vec::new()) })
    }

    fn find(&self, component: &[u16]) -> Option<ObjectRef> {
        let entries = self.entries.lock();
        let at = entries.binary_search_by(|(name, _)| name::order(name, component)).ok()?;
        Some(entries[at].1.clone())
    }

    fn insert(&self, component: &[u16], object: &ObjectRef) -> Result<(), NTSTATUS> {
        let mut entries = self.entries.lock();
        match entries.binary_search_by(|(name, _)| name::order(name, component)) {
            Ok(_) => Err(NTSTATUS::OBJECT_NAME_COLLISION),
            Err(_) if entries.len() >= MAX_ENTRIES => Err(NTSTATUS::INSUFFICIENT_RESOURCES),
            Err(at) => {
                entries.insert(at, (component.into(), object.clone()));
                Ok(())
            }
        }
    }

    /// Takes a name away, if it names `object` (any, for `None`). The reference is dropped by the caller, outside the lock.
    fn remove(&self, component: &[u16], object: Option<&ObjectRef>) -> Option<ObjectRef> {
        let mut entries = self.entries.lock();
        let at = entries.binary_search_by(|(name, _)| name::order(name, component)).ok()?;
        let is_meant = object.is_none_or(|object| entries[at].1 == *object);
        is_meant.then(|| entries.remove(at).1)
    }
}

/// A namespace: a root directory.
#[derive(Debug)]
pub(crate) struct Namespace {
    root: ObjectRef,
}

impl Namespace {
    /// The directories that drivers rely on.
    pub(crate) fn create() -> Result<Self, NTSTATUS> {
        let namespace = Self { root: Directory::create()? };
        for path in ["\\Device", "\\??", "\\Driver", "\\KernelObjects", "\\BaseNamedObjects", "\\Callback"] {
            namespace.insert(&name::wide(path), &Directory::create()?)?;
        }
        for path in ["\\DosDevices", "\\GLOBAL??"] {
            let link = SymbolicLink { target: name::wide("\\??") };
            namespace.insert(&name::wide(path), &ObjectRef::new(&SYMBOLIC_LINK, link)?)?;
        }
        let link = SymbolicLink { target: name::wide("\\??") };
        namespace.insert(&name::wide("\\??\\Global"), &ObjectRef::new(&SYMBOLIC_LINK, link)?)?;
        Ok(namespace)
    }

    /// Walks a full path. Stops at the first object that is neither directory nor symbolic link; a link at the end of the path is
    /// followed unless `keep_last_link`.
    pub(crate) fn find(&self, path: &[u16], keep_last_link: bool) -> Result<Found, NTSTATUS> {
        let mut path = Vec::from(path);
        for _ in 0..MAX_LINKS {
            match self.walk(&path, keep_last_link)? {
                Step::Found(found) => return Ok(found),
                Step::Again(next) if next.len() > MAX_PATH => return Err(NTSTATUS::NAME_TOO_LONG),
                Step::Again(next) => path = next,
            }
        }
        Err(NTSTATUS::OBJECT_NAME_INVALID)
    }

    fn walk(&self, path: &[u16], keep_last_link: bool) -> Result<Step, NTSTATUS> {
        let Some(mut rest) = path.strip_prefix(&[SEPARATOR]) else { return Err(NTSTATUS::OBJECT_PATH_SYNTAX_BAD) };
        let mut current = self.root.clone();
        loop {
            if rest.is_empty() {
                return Ok(Step::Found(Found { object: current, rest: Vec::new() }));
            }
            let (component, after) = name::split_first(rest);
            if component.is_empty() {
                return Err(NTSTATUS::OBJECT_NAME_INVALID);
            }
            let is_last = component.len() == rest.len();
            let child = current.get::<Directory>(&DIRECTORY).and_then(|directory| directory.find(component));
            let missing = if is_last { NTSTATUS::OBJECT_NAME_NOT_FOUND } else { NTSTATUS::OBJECT_PATH_NOT_FOUND };
            let child = child.ok_or(missing)?;
            let remaining = &rest[component.len()..];
            if let Some(link) = child.get::<SymbolicLink>(&SYMBOLIC_LINK) {
                if !(is_last && keep_last_link) {
                    let mut next = link.target.clone();
                    next.extend_from_slice(remaining);
                    return Ok(Step::Again(next));
                }
            } else if !child.is(&DIRECTORY) {
                return Ok(Step::Found(Found { object: child, rest: remaining.into() }));
            }
            current = child;
            rest = after;
        }
    }

    /// The directory that a path's last component is to be in, and that component.
    fn parent<'a>(&self, path: &'a [u16]) -> Result<(ObjectRef, &'a [u16]), NTSTATUS> {
        let at = path.iter().rposition(|&unit| unit == SEPARATOR).ok_or(NTSTATUS::OBJECT_PATH_SYNTAX_BAD)?;
        let last = &path[at + 1..];
        if last.is_empty() {
            return Err(NTSTATUS::OBJECT_NAME_INVALID);
        }
        let folder = if at == 0 { &path[..1] } else { &path[..at] };
        let found = self.find(folder, false).map_err(|status| match status {
            NTSTATUS::OBJECT_NAME_NOT_FOUND => NTSTATUS::OBJECT_PATH_NOT_FOUND,
            other => other,
        })?;
        if !found.rest.is_empty() || !found.object.is(&DIRECTORY) {
            return Err(NTSTATUS::OBJECT_TYPE_MISMATCH);
        }
        Ok((found.object, last))
    }

    /// Gives an object a name.
    pub(crate) fn insert(&self, path: &[u16], object: &ObjectRef) -> Result<(), NTSTATUS> {
        let (folder, last) = self.parent(path)?;
        let folder = folder.get::<Directory>(&DIRECTORY).ok_or(NTSTATUS::OBJECT_TYPE_MISMATCH)?;
        folder.insert(last, object)
    }

    /// Takes a name away, if it names `object`; any object, for `None`.
    pub(crate) fn remove(&self, path: &[u16], object: Option<&ObjectRef>) -> Result<ObjectRef, NTSTATUS> {
        let (folder, last) = self.parent(path)?;
        let folder = folder.get::<Directory>(&DIRECTORY).ok_or(NTSTATUS::OBJECT_TYPE_MISMATCH)?;
        folder.remove(last, object).ok_or(NTSTATUS::OBJECT_NAME_NOT_FOUND)
    }

    /// Creates a symbolic link.
    pub(crate) fn create_link(&self, path: &[u16], target: &[u16]) -> Result<(), NTSTATUS> {
        let link = ObjectRef::new(&SYMBOLIC_LINK, SymbolicLink { target: target.into() })?;
        self.insert(path, &link)
    }

    /// Deletes a symbolic link.
    pub(crate) fn delete_link(&self, path: &[u16]) -> Result<(), NTSTATUS> {
        let found = self.find(path, true)?;
        if !found.rest.is_empty() || !found.object.is(&SYMBOLIC_LINK) {
            return Err(NTSTATUS::OBJECT_TYPE_MISMATCH);
        }
        self.remove(path, Some(&found.object)).map(drop)
    }
}

enum Step {
    Found(Found),
    Again(Vec<u16>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::name::{lossy, wide};

    static THING: ObjectType = ObjectType::of::<u32>("Thing");

    fn thing() -> ObjectRef {
        ObjectRef::new(&THING, 1u32).unwrap()
    }

    #[test]
    fn a_link_in_dos_devices_leads_to_the_device_and_keeps_what_follows() {
        let names = Namespace::create().unwrap();
        names.insert(&wide("\\Device\\Relay"), &thing()).unwrap();
        names.create_link(&wide("\\DosDevices\\Relay0"), &wide("\\Device\\Relay")).unwrap();

        let found = names.find(&wide("\\??\\relay0\\sub\\file"), false).unwrap();

        assert!(found.object.is(&THING));
        assert_eq!(lossy(&found.rest), "\\sub\\file");
    }

    #[test]
    fn a_missing_last_name_and_a_missing_folder_have_their_own_statuses() {
        let names = Namespace::create().unwrap();
        assert_eq!(names.find(&wide("\\??\\Nothing"), false).unwrap_err(), NTSTATUS::OBJECT_NAME_NOT_FOUND);
        assert_eq!(names.find(&wide("\\Nowhere\\X"), false).unwrap_err(), NTSTATUS::OBJECT_PATH_NOT_FOUND);
        assert_eq!(names.find(&wide("relative"), false).unwrap_err(), NTSTATUS::OBJECT_PATH_SYNTAX_BAD);
        assert_eq!(names.find(&wide("\\??\\\\X"), false).unwrap_err(), NTSTATUS::OBJECT_NAME_INVALID);
    }

    #[test]
    fn links_that_lead_in_a_circle_end_in_an_error() {
        let names = Namespace::create().unwrap();
        names.create_link(&wide("\\??\\A"), &wide("\\??\\B")).unwrap();
        names.create_link(&wide("\\??\\B"), &wide("\\??\\A")).unwrap();
        assert_eq!(names.find(&wide("\\??\\A"), false).unwrap_err(), NTSTATUS::OBJECT_NAME_INVALID);
    }

    #[test]
    fn a_taken_name_collides_and_a_removed_one_is_free_again() {
        let names = Namespace::create().unwrap();
        let object = thing();
        names.insert(&wide("\\Device\\X"), &object).unwrap();
        assert_eq!(names.insert(&wide("\\device\\x"), &thing()), Err(NTSTATUS::OBJECT_NAME_COLLISION));
        assert!(names.remove(&wide("\\Device\\X"), Some(&thing())).is_err());
        names.remove(&wide("\\Device\\X"), Some(&object)).unwrap();
        names.insert(&wide("\\Device\\X"), &thing()).unwrap();
    }

    #[test]
    fn only_a_link_is_deleted_as_a_link() {
        let names = Namespace::create().unwrap();
        names.insert(&wide("\\Device\\X"), &thing()).unwrap();
        assert_eq!(names.delete_link(&wide("\\Device\\X")), Err(NTSTATUS::OBJECT_TYPE_MISMATCH));
        names.create_link(&wide("\\??\\X"), &wide("\\Device\\X")).unwrap();
        names.delete_link(&wide("\\??\\X")).unwrap();
        assert!(names.find(&wide("\\??\\X"), false).is_err());
    }
}
