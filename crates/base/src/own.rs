//! Members that a program adds to a registry when it runs, as other crates' losses are added to `LossConfig`.
//!
//! A member is known by its kind for the whole process, so that configs, checkpoints and bundles may name it; whatever
//! reads these must have added it. Its settings are kept as they were written.

use std::{
    any::{Any, TypeId},
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use serde::{Serialize, Serializer};
use toml::{Table, Value};

/// A member of a registry with the role `T`, which the program has added.
pub struct Own<T: ?Sized> {
    kind: &'static str,
    settings: Table,
    member: Arc<T>,
}

/// A member cannot be added, since another one has its kind.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kind `{0}` is taken: choose another one")]
pub struct Taken(pub &'static str);

/// Makes a member from the settings in its table.
type Make<T> = Arc<dyn Fn(Table) -> Result<Arc<T>, String> + Send + Sync>;

/// An added member.
struct Added {
    kind: &'static str,
    /// The type of the member.
    member: TypeId,
    /// A `Make` of its role.
    make: Box<dyn Any + Send + Sync>,
}

/// Those of all registries.
static ADDED: RwLock<Vec<Added>> = RwLock::new(Vec::new());

/// Adds a member: `add` of a registry calls this.
///
/// - `is_known`: whether the registry has the kind itself.
/// - `make`: makes a member, of the type `M`, from the settings in its table.
///
/// # Errors
/// The kind is taken.
#[doc(hidden)]
pub fn add<T: ?Sized + 'static, M: 'static>(
    kind: &'static str,
    is_known: bool,
    make: impl Fn(Table) -> Result<Arc<T>, String> + Send + Sync + 'static,
) -> Result<(), Taken> {
    let mut all = ADDED.write().unwrap_or_else(PoisonError::into_inner);
    match all.iter().find(|it| it.kind == kind && it.make.is::<Make<T>>()) {
        Some(it) if it.member == TypeId::of::<M>() => return Ok(()),
        None if !is_known => {}
        _ => return Err(Taken(kind)),
    }
    let make: Make<T> = Arc::new(make);
    all.push(Added { kind, member: TypeId::of::<M>(), make: Box::new(make) });
    Ok(())
}

impl<T: ?Sized + 'static> Own<T> {
    /// Reads a member from its table; `None` if its kind was not added.
    ///
    /// # Errors
    /// Inner: settings that are not the member's.
    #[doc(hidden)]
    pub fn read(value: &Value) -> Option<Result<Own<T>, String>> {
        let table = value.as_table()?;
        let named = table.get("kind")?.as_str()?;
        let all = ADDED.read().unwrap_or_else(PoisonError::into_inner);
        let of_kind = |it: &Added| Some((it.kind, it.make.downcast_ref::<Make<T>>()?.clone()));
        let (kind, make) = all.iter().filter(|it| it.kind == named).find_map(of_kind)?;
        drop(all);
        let mut settings = table.clone();
        settings.remove("kind");
        Some(make(settings.clone()).map(|member| Own { kind, settings, member }))
    }

    /// Returns the member.
    pub fn member(&self) -> &T {
        &self.member
    }

    /// Returns its kind.
    pub fn kind(&self) -> &'static str {
        self.kind
    }
}

impl<T: ?Sized> Clone for Own<T> {
    fn clone(&self) -> Own<T> {
        let Own { kind, settings, member } = self;
        Own { kind, settings: settings.clone(), member: Arc::clone(member) }
    }
}

impl<T: ?Sized> fmt::Debug for Own<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Own").field("kind", &self.kind).field("settings", &self.settings).finish()
    }
}

impl<T: ?Sized> PartialEq for Own<T> {
    fn eq(&self, other: &Own<T>) -> bool {
        self.kind == other.kind && self.settings == other.settings
    }
}

impl<T: ?Sized> Serialize for Own<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut table = self.settings.clone();
        table.insert("kind".to_owned(), Value::String(self.kind.to_owned()));
        table.serialize(to)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::Taken;

    trait Shape {
        fn area(&self) -> f64;
    }

    crate::choice! {
        enum Shapes: dyn Shape, open Own {
            /// A square.
            "square" => Square(Square),
        }
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Square {
        side: f64,
    }

    impl Shape for Square {
        fn area(&self) -> f64 {
            self.side * self.side
        }
    }

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Circle {
        radius: f64,
    }

    impl Shape for Circle {
        fn area(&self) -> f64 {
            3.0 * self.radius * self.radius
        }
    }

    #[test]
    fn a_member_that_was_added_is_one_of_its_registry() {
        let text = "kind = \"circle\"\nradius = 2.0\n";
        let err = toml::from_str::<Shapes>(text).unwrap_err().to_string();
        assert!(err.contains("unknown kind `circle`, expected one of `square`"), "{err}");

        Shapes::add::<Circle>("circle").unwrap();
        Shapes::add::<Circle>("circle").unwrap();
        assert_eq!(Shapes::add::<Square>("circle"), Err(Taken("circle")));
        assert_eq!(Shapes::add::<Circle>("square"), Err(Taken("square")));

        let circle: Shapes = toml::from_str(text).unwrap();
        assert_eq!((circle.kind(), circle.get().area()), ("circle", 12.0));
        let again: Shapes = toml::from_str(&toml::to_string(&circle).unwrap()).unwrap();
        assert_eq!(again, circle);
        let square: Shapes = toml::from_str("kind = \"square\"\nside = 2.0").unwrap();
        assert_ne!(square, circle);
        assert_eq!(toml::to_string(&square).unwrap(), "kind = \"square\"\nside = 2.0\n");
        let err = toml::from_str::<Shapes>("kind = \"circle\"\nsize = 2.0").unwrap_err();
        assert!(err.to_string().contains("(these are of kind `circle`)"), "{err}");
    }
}
