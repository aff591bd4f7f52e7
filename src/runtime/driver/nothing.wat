;; The post-return of a handler without one: does nothing.
(module (func (export "post") (param i32)))
