//! Simulates scheduling on one thread and in virtual time. The real scheduler runs on a machine
//! that switches threads at every lock and in the middle of turns, in an order that a seed decides.
//! A model checks every turn.

mod guest;
mod machine;
mod model;
mod platform;
mod world;

use std::sync::Arc;

use crate::core::simulation::episodes;
use crate::runtime::simulation::world::World;

#[test]
fn every_woken_task_gets_its_turn_in_order_and_in_time() {
    let (mut turns, mut behind) = (0, 0);
    episodes::run(|world: Arc<World>| {
        let (all, its_behind) = world.model.size();
        (turns, behind) = (turns + all, behind + its_behind);
    });
    println!("{turns} turns, {behind} of them behind the workers");
    assert!(turns > behind && behind > 0);
}
