//! Owns the form of an enum whose variants have facts: one list is both the enum and the table.

/// Defines an enum, and a function that returns the value each variant is written with.
macro_rules! table {
    (
        $(#[$about:meta])*
        pub enum $name:ident {
            $($(#[$variant_about:meta])* $variant:ident = $row:expr,)+
        }

        $(#[$column_about:meta])*
        $visibility:vis fn $column:ident(self) -> $value:ty;
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_about])* $variant,)+
        }

        impl $name {
            const TABLE: &[(Self, $value)] = &[$((Self::$variant, $row)),+];

            /// The number of variants.
            pub const COUNT: usize = Self::TABLE.len();

            /// Every variant, in the order of `index`.
            pub fn all() -> impl Iterator<Item = Self> {
                Self::TABLE.iter().map(|(variant, _)| *variant)
            }

            /// The position in `all`.
            pub fn index(self) -> usize {
                self as usize
            }

            $(#[$column_about])*
            $visibility fn $column(self) -> $value {
                Self::TABLE[self.index()].1
            }
        }
    };
}

pub(crate) use table;
