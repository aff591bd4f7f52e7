;; For a handler that has nothing to do after its result was read.
(module (func (export "post") (param i32)))
