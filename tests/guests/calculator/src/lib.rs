//! Functions with values of every WIT type. It has no life cycle, so it gets no messages.

use std::cell::Cell;

use exports::docs::calc::echo;
use exports::docs::calc::ops::{self, Counter, CounterBorrow, Op, Point, Shape, Style};

wit_bindgen::generate!({ path: "wit", world: "calculator" });

struct Calculator;
export!(Calculator);

thread_local! {
    static OPEN: Cell<u32> = const { Cell::new(0) };
}

struct Counting(Cell<u32>);

impl Counting {
    fn open(from: u32) -> Self {
        OPEN.set(OPEN.get() + 1);
        Self(Cell::new(from))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        OPEN.set(OPEN.get() - 1);
    }
}

impl ops::GuestCounter for Counting {
    fn new(start: u32) -> Self {
        Self::open(start)
    }

    fn next(&self) -> u32 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }

    fn join(a: Counter, b: Counter) -> Counter {
        let sum = a.get::<Self>().0.get() + b.get::<Self>().0.get();
        Counter::new(Self::open(sum))
    }

    fn value(&self) -> u32 {
        self.0.get()
    }
}

impl Guest for Calculator {
    fn add(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }
}

impl ops::Guest for Calculator {
    type Counter = Counting;

    fn add(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }

    fn apply(op: Op, a: i32, b: i32) -> i32 {
        match op {
            Op::Plus => a.wrapping_add(b),
            Op::Minus => a.wrapping_sub(b),
            Op::Times => a.wrapping_mul(b),
        }
    }

    fn divide(a: i32, b: i32) -> Result<i32, String> {
        a.checked_div(b).ok_or_else(|| format!("{a} by {b}"))
    }

    fn area(shape: Shape) -> f64 {
        match shape {
            Shape::Dot => 0.0,
            Shape::Circle(radius) => radius * radius * std::f64::consts::PI,
            Shape::Polygon(points) => {
                let next = points.iter().cycle().skip(1);
                let twice: f64 = points
                    .iter()
                    .zip(next)
                    .map(|(a, b)| f64::from(a.x) * f64::from(b.y) - f64::from(b.x) * f64::from(a.y))
                    .sum();
                twice.abs() / 2.0
            }
        }
    }

    fn sum(numbers: Vec<i64>) -> i64 {
        numbers.iter().fold(0, |sum, number| sum.wrapping_add(*number))
    }

    fn describe(name: String, at: Point, style: Style) -> String {
        let Point { x, y, label } = at;
        format!("{name} at {x},{y} {} {style:?}", label.unwrap_or_default())
    }

    fn open_counters() -> u32 {
        OPEN.get()
    }

    fn peek(counter: CounterBorrow<'_>) -> u32 {
        counter.get::<Counting>().0.get()
    }

    fn trap() {
        unreachable!()
    }

    fn spin() {
        loop {
            std::hint::black_box(0);
        }
    }

    fn bytes(count: u32) -> Vec<u8> {
        vec![7; count as usize]
    }
}

macro_rules! echoes {
    ($($name:ident: $type:ty,)*) => {
        impl echo::Guest for Calculator {
            fn nothing() {}

            $(fn $name(v: $type) -> $type {
                v
            })*

            fn wide(a: echo::Ten, b: echo::Ten) -> (echo::Ten, echo::Ten) {
                (a, b)
            }
        }
    };
}

echoes! {
    bools: bool,
    s8s: i8,
    u8s: u8,
    s16s: i16,
    u16s: u16,
    s32s: i32,
    u32s: u32,
    s64s: i64,
    u64s: u64,
    f32s: f32,
    f64s: f64,
    chars: char,
    strings: String,
    bytes: Vec<u8>,
    numbers: Vec<i32>,
    doubles: Vec<f64>,
    truths: Vec<bool>,
    texts: Vec<String>,
    points: Vec<Point>,
    tens: echo::Ten,
    lists_of_tens: Vec<echo::Ten>,
    tuples: (u8, String, f32),
    options: Option<u32>,
    nested_options: Option<Option<String>>,
    results: Result<u32, String>,
    empty_results: Result<(), ()>,
    shapes: Shape,
    mixeds: echo::Mixed,
    ops: Op,
    styles: Style,
    manys: echo::Many,
}
