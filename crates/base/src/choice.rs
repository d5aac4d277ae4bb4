//! The registry: one line in a config names one file of a crate.

/// Declares the closed set of things that a `kind = "…"` in a config may name.
///
/// Each line maps a kind to the struct that is both its config and its implementation, under a
/// doc comment that `maskfit list` prints.
/// Adding a member means writing its file and adding its line; nothing else changes.
#[macro_export]
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident: $role:ty {
            $( $(#[doc = $doc:literal])+ $kind:literal => $variant:ident($member:ty), )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "kind")]
        $vis enum $name {
            $(
                $(#[doc = $doc])+
                #[serde(rename = $kind)]
                $variant($member),
            )+
        }

        impl $name {
            /// Every kind with its doc, in the order of the registry.
            $vis const KINDS: &'static [(&'static str, &'static str)] =
                &[$( ($kind, concat!($($doc, "\n"),+)), )+];

            /// Every member at its default settings, for tests that visit the whole zoo.
            $vis fn zoo() -> Vec<(&'static str, Self)> {
                vec![$( ($kind, Self::$variant(<$member>::default())), )+]
            }

            /// The name of the chosen member, as configs spell it.
            $vis fn kind(&self) -> &'static str {
                match self {
                    $( Self::$variant(_) => $kind, )+
                }
            }

            /// The chosen member.
            $vis fn get(&self) -> &$role {
                match self {
                    $( Self::$variant(it) => it, )+
                }
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
