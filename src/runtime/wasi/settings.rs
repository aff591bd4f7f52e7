//! What a socket is set to.

/// Functions of a WASI interface about what a socket is set to. A placeholder takes any setting, and tells
/// the usual ones; `value <= MOST` holds a setting down to the most that a guest can have.
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
