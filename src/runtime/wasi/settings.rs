//! Socket options.

/// Defines WASI functions for socket options. A placeholder accepts any value and returns the usual
/// ones; `value <= MOST` clamps a value to the guest's maximum.
macro_rules! settings {
    ($host:ident for $socket:ty;
     $($name:ident($($value:ident $(<= $most:ident)?: $type:ty)?) -> $answer:ty = $usual:expr;)*) => {$(
        fn $name(
            &mut self,
            socket: Resource<$socket>,
            $($value: $type,)?
        ) -> Result<$answer, SocketError> {
            if self.placeholder(socket.rep()).is_some() {
                return Ok($usual);
            }
            $host::$name(&mut self.inner, socket $(, $value $(.min($most))?)?)
        }
    )*};
}

pub(super) use settings;
