//! Records in the host's log.

use crate::LogLevel;
use crate::bindings::airssys::core::host_services;

/// Writes a record with key-value pairs. The macros [`error!`](crate::error),
/// [`warn!`](crate::warn), [`info!`](crate::info), [`debug!`](crate::debug) and
/// [`trace!`](crate::trace) are shorter.
pub fn write(level: LogLevel, message: &str, pairs: &[(String, String)]) {
    let pairs = (!pairs.is_empty()).then_some(pairs);
    host_services::log(level, message, pairs);
}

/// Writes a record of a level: a format string with its arguments, and after `;` pairs of a key and
/// a value.
#[macro_export]
macro_rules! record {
    ($level:expr, $($format:expr),+ $(,)?) => {
        $crate::log::write($level, &::std::format!($($format),+), &[])
    };
    ($level:expr, $($format:expr),+; $($key:literal => $value:expr),+ $(,)?) => {
        $crate::log::write(
            $level,
            &::std::format!($($format),+),
            &[$(($key.to_string(), $value.to_string())),+],
        )
    };
}

macro_rules! levels {
    ($dollar:tt $($name:ident $level:ident),*) => {$(
        #[doc = concat!("Writes a record of this level: `", stringify!($name), "!(\"counted {}\", n; \"word\" => word)`.")]
        #[macro_export]
        macro_rules! $name {
            ($dollar($dollar arguments:tt)*) => {
                $crate::record!($crate::LogLevel::$level, $dollar($dollar arguments)*)
            };
        }
    )*};
}

levels!($ error Error, warn Warn, info Info, debug Debug, trace Trace);
