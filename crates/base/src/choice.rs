//! The registry: each `kind` in a config names one file of a crate.

use serde::de::DeserializeOwned;
#[doc(hidden)]
pub use toml::{Table, Value};

use crate::{config::located, nearest::suggested};

/// Removes and returns the `kind` of a table of settings.
#[doc(hidden)]
pub fn take_kind(table: &mut Table, known: &[&str]) -> Result<String, String> {
    let list = || known.iter().map(|it| format!("`{it}`")).collect::<Vec<_>>().join(", ");
    match table.remove("kind") {
        Some(Value::String(kind)) if known.contains(&kind.as_str()) => Ok(kind),
        Some(Value::String(kind)) => {
            let unknown = format!("unknown kind `{kind}`, expected one of {}", list());
            Err(located("kind", &suggested(&unknown)))
        }
        Some(other) => Err(located("kind", &format!("must be one of {}, not {other}", list()))),
        None => Err(format!("missing field `kind`: one of {}", list())),
    }
}

/// Returns the table of settings that a value is.
#[doc(hidden)]
pub fn into_table(value: Value, known: &[&str]) -> Result<Table, String> {
    match value {
        Value::Table(table) => Ok(table),
        Value::String(kind) if known.contains(&kind.as_str()) => Err(format!(
            "must be a table with a `kind`: write `{{ kind = \"{kind}\" }}`, or set its `kind`"
        )),
        other => {
            let kinds: Vec<_> = known.iter().map(|it| format!("`{it}`")).collect();
            Err(format!("must be a table with a `kind`, one of {}; not {other}", kinds.join(", ")))
        }
    }
}

/// Deserializes the settings of a kind; an error names the path of the invalid setting.
#[doc(hidden)]
pub fn read_member<T: DeserializeOwned>(kind: &str, table: Table) -> Result<T, String> {
    serde_path_to_error::deserialize(table).map_err(|err| {
        let reason = suggested(err.inner().message());
        let of_kind = match reason.starts_with("unknown field") {
            true => format!(" (these are of kind `{kind}`)"),
            false => String::new(),
        };
        located(&err.path().to_string(), &format!("{reason}{of_kind}"))
    })
}

/// Declares the set of members that a `kind = "…"` in a config may name.
///
/// Each line maps a kind to the struct that is both its config and its implementation, under a
/// doc comment that `maskfit list` prints.
/// Adding a member means writing its file and adding its line; nothing else changes.
///
/// The set is closed, but after `dyn Role` may follow `, open Own`: programs that use the crate then add members of
/// their own with `add`, which are of the variant `Own` ([`own`](crate::own)).
#[macro_export]
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident: dyn $role:ident $(, open $own:ident)? {
            $( $(#[doc = $doc:literal])+ $kind:literal => $variant:ident($member:ty), )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        #[serde(tag = "kind")]
        $vis enum $name {
            $(
                $(#[doc = $doc])+
                #[serde(rename = $kind)]
                $variant($member),
            )+
            $(
                /// A member of the program that uses this crate.
                #[serde(untagged)]
                $own($crate::own::Own<dyn $role + Send + Sync>),
            )?
        }

        impl $name {
            /// Every kind with its doc comment, in the order of the registry.
            $vis const KINDS: &'static [(&'static str, &'static str)] =
                &[$( ($kind, concat!($($doc, "\n"),+)), )+];

            /// Every member at its default settings, for tests that cover the whole registry.
            $vis fn zoo() -> Vec<(&'static str, Self)> {
                vec![$( ($kind, Self::$variant(<$member>::default())), )+]
            }

            /// The name of the chosen member, as configs spell it.
            $vis fn kind(&self) -> &'static str {
                match self {
                    $( Self::$variant(_) => $kind, )+
                    $( Self::$own(it) => it.kind(), )?
                }
            }

            /// The chosen member.
            $vis fn get(&self) -> &dyn $role {
                match self {
                    $( Self::$variant(it) => it, )+
                    $( Self::$own(it) => it.member(), )?
                }
            }

            $(
                #[doc = concat!("Adds a member of the program that uses this crate: [`", stringify!($own), "`](Self::", stringify!($own), ").")]
                ///
                /// From then on `kind` is one of those that a config or a bundle may name, for the whole process; the
                /// other settings in its table are deserialized as an `M`. Adding the same member again does nothing.
                ///
                /// # Errors
                /// The kind is taken.
                $vis fn add<M>(kind: &'static str) -> std::result::Result<(), $crate::own::Taken>
                where
                    M: $role + serde::de::DeserializeOwned + Send + Sync + 'static,
                {
                    type Of = dyn $role + Send + Sync;
                    let is_known = Self::KINDS.iter().any(|it| it.0 == kind);
                    $crate::own::add::<Of, M>(kind, is_known, move |table| {
                        let member = $crate::choice::read_member::<M>(kind, table)?;
                        Ok(std::sync::Arc::new(member) as std::sync::Arc<Of>)
                    })
                }
            )?
        }

        // Not derived: serde loses the path of an error inside an internally tagged table.
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D>(from: D) -> std::result::Result<Self, D::Error>
            where
                D: serde::Deserializer<'de>,
            {
                let value = <$crate::choice::Value as serde::Deserialize>::deserialize(from)?;
                $(
                    if let Some(own) = $crate::own::Own::read(&value) {
                        return own.map(Self::$own).map_err(serde::de::Error::custom);
                    }
                )?
                let table = $crate::choice::into_table(value, &[$($kind),+]);
                let mut table = table.map_err(serde::de::Error::custom)?;
                let kind = $crate::choice::take_kind(&mut table, &[$($kind),+]);
                let member = match kind.map_err(serde::de::Error::custom)?.as_str() {
                    $( $kind => $crate::choice::read_member($kind, table).map(Self::$variant), )+
                    other => unreachable!("`{other}` was not among the known kinds"),
                };
                member.map_err(serde::de::Error::custom)
            }
        }

        impl Default for $name {
            /// The first member, at its default settings.
            fn default() -> Self {
                Self::zoo().swap_remove(0).1
            }
        }
    };
}
