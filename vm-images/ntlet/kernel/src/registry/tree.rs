//! The registry's keys and values, in memory. Knows no handles and no locks.
//!
//! Keys live in a slab and are named by index and generation, so that a handle to a deleted key is told from one to its successor.

use alloc::vec::Vec;

use wdf_sys::NTSTATUS;

use crate::object::name::{self, SEPARATOR};

/// Longest name of a key, in units.
const MAX_KEY_NAME: usize = 255;
/// Longest name of a value, in units.
const MAX_VALUE_NAME: usize = 16_383;
/// Largest value.
const MAX_DATA: usize = 1 << 20;
/// Most keys.
const MAX_KEYS: usize = 1 << 16;
/// Most values of one key.
const MAX_VALUES: usize = 1 << 14;

/// Names a key for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyId {
    index: u32,
    generation: u32,
}

/// A value of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    /// Its name, empty for the default value.
    pub(crate) name: Vec<u16>,
    /// `REG_…`.
    pub(crate) kind: u32,
    /// Its bytes.
    pub(crate) data: Vec<u8>,
}

/// A key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its own name, without its parent's.
    pub(crate) name: Vec<u16>,
    /// Values in the order in which they were written.
    pub(crate) values: Vec<Value>,
    /// Keys below it, ordered by name.
    pub(crate) children: Vec<KeyId>,
    /// When it was last changed.
    pub(crate) last_write: i64,
    parent: Option<KeyId>,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    key: Option<Key>,
}

/// All keys.
#[derive(Debug)]
pub(crate) struct Tree {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Tree {
    /// A tree that holds its root only.
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// The root, `\Registry`, made at first use.
    pub(crate) fn root(&mut self) -> KeyId {
        if self.slots.is_empty() {
            let key = Key { name: name::wide("REGISTRY"), values: Vec::new(), children: Vec::new(), last_write: 0, parent: None };
            self.slots.push(Slot { generation: 0, key: Some(key) });
        }
        KeyId { index: 0, generation: 0 }
    }

    /// The key itself, unless it was deleted.
    pub(crate) fn key(&self, id: KeyId) -> Result<&Key, NTSTATUS> {
        let slot = self.slots.get(id.index as usize).filter(|slot| slot.generation == id.generation);
        slot.and_then(|slot| slot.key.as_ref()).ok_or(NTSTATUS::KEY_DELETED)
    }

    fn key_mut(&mut self, id: KeyId) -> Result<&mut Key, NTSTATUS> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation);
        slot.and_then(|slot| slot.key.as_mut()).ok_or(NTSTATUS::KEY_DELETED)
    }

    /// Where a child of that name is, or where it would have to be inserted.
    fn position(&self, parent: KeyId, child: &[u16]) -> Result<Result<usize, usize>, NTSTATUS> {
        let children = &self.key(parent)?.children;
        let name_of = |id: &KeyId| self.key(*id).map_or(&[][..], |key| &key.name);
        Ok(children.binary_search_by(|id| name::order(name_of(id), child)))
    }

    /// The key at a path below `from`; an empty path is `from` itself.
    pub(crate) fn open(&self, from: KeyId, path: &[u16]) -> Result<KeyId, NTSTATUS> {
        let mut current = from;
        self.key(current)?;
        for component in components(path) {
            let at = self.position(current, component)?.map_err(|_| NTSTATUS::OBJECT_NAME_NOT_FOUND)?;
            current = self.key(current)?.children[at];
        }
        Ok(current)
    }

    /// Opens or creates the key at a path below `from`. With `whole_path` keys on the way are created too, else they must exist.
    pub(crate) fn create(&mut self, from: KeyId, path: &[u16], whole_path: bool, now: i64) -> Result<(KeyId, bool), NTSTATUS> {
        let mut current = from;
        let mut created = false;
        self.key(current)?;
        let mut parts = components(path).peekable();
        while let Some(component) = parts.next() {
            current = match self.position(current, component)? {
                Ok(at) => self.key(current)?.children[at],
                Err(_) if parts.peek().is_some() && !whole_path => return Err(NTSTATUS::OBJECT_NAME_NOT_FOUND),
                Err(at) => {
                    created = true;
                    self.insert(current, at, component, now)?
                }
            };
        }
        Ok((current, created))
    }

    fn insert(&mut self, parent: KeyId, at: usize, child: &[u16], now: i64) -> Result<KeyId, NTSTATUS> {
        if child.len() > MAX_KEY_NAME {
            return Err(NTSTATUS::OBJECT_NAME_INVALID);
        }
        let key = Key { name: child.into(), values: Vec::new(), children: Vec::new(), last_write: now, parent: Some(parent) };
        let id = if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.key = Some(key);
            KeyId { index, generation: slot.generation }
        } else {
            if self.slots.len() >= MAX_KEYS {
                return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
            }
            self.slots.push(Slot { generation: 0, key: Some(key) });
            KeyId { index: (self.slots.len() - 1) as u32, generation: 0 }
        };
        let parent = self.key_mut(parent)?;
        parent.children.insert(at, id);
        parent.last_write = now;
        Ok(id)
    }

    /// Deletes a key that has no keys below it.
    pub(crate) fn delete(&mut self, id: KeyId, now: i64) -> Result<(), NTSTATUS> {
        let key = self.key(id)?;
        let Some(parent) = key.parent.filter(|_| key.children.is_empty()) else { return Err(NTSTATUS::CANNOT_DELETE) };
        let parent = self.key_mut(parent)?;
        parent.children.retain(|&child| child != id);
        parent.last_write = now;
        let slot = &mut self.slots[id.index as usize];
        slot.key = None;
        // A slot whose generations have run out is not used again.
        if let Some(next) = slot.generation.checked_add(1) {
            slot.generation = next;
            self.free.push(id.index);
        }
        Ok(())
    }

    /// The value of that name.
    pub(crate) fn value(&self, id: KeyId, value: &[u16]) -> Result<&Value, NTSTATUS> {
        let found = self.key(id)?.values.iter().find(|candidate| name::same(&candidate.name, value));
        found.ok_or(NTSTATUS::OBJECT_NAME_NOT_FOUND)
    }

    /// Writes a value.
    pub(crate) fn set_value(&mut self, id: KeyId, value: &[u16], kind: u32, data: &[u8], now: i64) -> Result<(), NTSTATUS> {
        if value.len() > MAX_VALUE_NAME {
            return Err(NTSTATUS::INVALID_PARAMETER);
        }
        if data.len() > MAX_DATA {
            return Err(NTSTATUS::INSUFFICIENT_RESOURCES);
        }
        let key = self.key_mut(id)?;
        key.last_write = now;
        match key.values.iter().position(|candidate| name::same(&candidate.name, value)) {
            Some(at) => {
                key.values[at].kind = kind;
                key.values[at].data = data.into();
            }
            None if key.values.len() >= MAX_VALUES => return Err(NTSTATUS::INSUFFICIENT_RESOURCES),
            None => key.values.push(Value { name: value.into(), kind, data: data.into() }),
        }
        Ok(())
    }

    /// Deletes a value.
    pub(crate) fn delete_value(&mut self, id: KeyId, value: &[u16], now: i64) -> Result<(), NTSTATUS> {
        let key = self.key_mut(id)?;
        let at = key.values.iter().position(|candidate| name::same(&candidate.name, value));
        key.values.remove(at.ok_or(NTSTATUS::OBJECT_NAME_NOT_FOUND)?);
        key.last_write = now;
        Ok(())
    }

    /// The key's full path, beginning with `\REGISTRY`.
    pub(crate) fn path(&self, id: KeyId) -> Result<Vec<u16>, NTSTATUS> {
        let mut names = Vec::new();
        let mut current = Some(id);
        while let Some(id) = current {
            let key = self.key(id)?;
            names.push(&key.name);
            current = key.parent;
        }
        let mut path = Vec::new();
        for name in names.into_iter().rev() {
            path.push(SEPARATOR);
            path.extend_from_slice(name);
        }
        Ok(path)
    }
}

/// Components of a path; doubled, leading and trailing backslashes count for nothing.
fn components(path: &[u16]) -> impl Iterator<Item = &[u16]> {
    path.split(|&unit| unit == SEPARATOR).filter(|component| !component.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::name::{lossy, wide};

    fn tree() -> (Tree, KeyId) {
        let mut tree = Tree::new();
        let root = tree.root();
        (tree, root)
    }

    #[test]
    fn a_key_is_found_by_its_path_whatever_its_case() {
        let (mut tree, root) = tree();
        let (key, created) = tree.create(root, &wide("Machine\\System"), true, 1).unwrap();
        assert!(created);
        assert_eq!(tree.open(root, &wide("MACHINE\\system")), Ok(key));
        assert_eq!(lossy(&tree.path(key).unwrap()), "\\REGISTRY\\Machine\\System");
    }

    #[test]
    fn a_missing_key_on_the_way_is_not_created_unless_asked() {
        let (mut tree, root) = tree();
        assert_eq!(tree.create(root, &wide("A\\B"), false, 1), Err(NTSTATUS::OBJECT_NAME_NOT_FOUND));
        assert!(tree.create(root, &wide("A"), false, 1).unwrap().1);
        assert!(!tree.create(root, &wide("a"), false, 1).unwrap().1);
    }

    #[test]
    fn a_deleted_key_answers_key_deleted_even_after_its_slot_is_used_again() {
        let (mut tree, root) = tree();
        let (old, _) = tree.create(root, &wide("A"), false, 1).unwrap();
        tree.delete(old, 2).unwrap();
        let (new, _) = tree.create(root, &wide("A"), false, 3).unwrap();
        assert_eq!(tree.set_value(old, &wide("v"), 4, &[1], 4), Err(NTSTATUS::KEY_DELETED));
        assert!(tree.set_value(new, &wide("v"), 4, &[1], 4).is_ok());
    }

    #[test]
    fn a_key_with_keys_below_it_and_the_root_cannot_be_deleted() {
        let (mut tree, root) = tree();
        tree.create(root, &wide("A\\B"), true, 1).unwrap();
        let a = tree.open(root, &wide("A")).unwrap();
        assert_eq!(tree.delete(a, 2), Err(NTSTATUS::CANNOT_DELETE));
        assert_eq!(tree.delete(root, 2), Err(NTSTATUS::CANNOT_DELETE));
    }

    #[test]
    fn values_are_written_over_and_deleted_by_name() {
        let (mut tree, root) = tree();
        tree.set_value(root, &wide("Name"), 1, b"one", 1).unwrap();
        tree.set_value(root, &wide("NAME"), 4, b"two", 2).unwrap();
        assert_eq!(tree.value(root, &wide("name")).unwrap().data, b"two");
        tree.delete_value(root, &wide("name"), 3).unwrap();
        assert_eq!(tree.value(root, &wide("name")), Err(NTSTATUS::OBJECT_NAME_NOT_FOUND));
    }

    #[test]
    fn children_are_ordered_by_name() {
        let (mut tree, root) = tree();
        for name in ["b", "A", "C"] {
            tree.create(root, &wide(name), false, 1).unwrap();
        }
        let names: Vec<_> = tree.key(root).unwrap().children.iter().map(|&id| lossy(&tree.key(id).unwrap().name)).collect();
        assert_eq!(names, ["A", "b", "C"]);
    }

    #[test]
    fn too_long_a_name_and_too_large_a_value_are_refused() {
        let (mut tree, root) = tree();
        assert_eq!(tree.create(root, &[0x61; 256], false, 1), Err(NTSTATUS::OBJECT_NAME_INVALID));
        assert_eq!(tree.set_value(root, &[], 3, &vec![0; MAX_DATA + 1], 1), Err(NTSTATUS::INSUFFICIENT_RESOURCES));
    }
}
