from gateway.identity.dpop import ReplayMemory


def test_a_proof_is_fresh_once():
    memory = ReplayMemory(80)
    assert memory.use("key", "p", 0) == "fresh"
    assert memory.use("key", "p", 1) == "replayed"
    assert memory.use("key", "p", 80) == "replayed"


def test_the_same_proof_id_of_another_key_is_another_proof():
    memory = ReplayMemory(80)
    assert memory.use("key", "p", 0) == "fresh"
    assert memory.use("other", "p", 0) == "fresh"


def test_a_proof_is_forgotten_when_it_can_no_longer_be_accepted():
    memory = ReplayMemory(80)
    memory.use("key", "p", 0)
    memory.use("key", "q", 40)
    assert memory.use("key", "r", 80.1) == "fresh"
    assert len(memory) == 2
    assert memory.use("key", "q", 80) == "replayed"
    assert memory.use("key", "q", 200) == "fresh"
    assert len(memory) == 1


def test_a_full_memory_refuses_and_forgets_nothing():
    memory = ReplayMemory(80, capacity=3, share=3)
    for number in range(3):
        assert memory.use(f"k{number}", "p", 0) == "fresh"
    assert memory.use("k9", "p", 1) == "full"
    assert memory.use("k0", "p", 1) == "replayed"
    assert memory.use("k9", "p", 80.1) == "fresh"


def test_one_key_cannot_fill_the_memory_for_others():
    memory = ReplayMemory(80, capacity=10, share=2)
    assert [memory.use("greedy", str(n), 0) for n in range(3)] == ["fresh", "fresh", "full"]
    assert memory.use("other", "p", 0) == "fresh"


def test_a_key_keeps_to_its_share_while_its_older_proofs_are_forgotten():
    memory = ReplayMemory(80, capacity=10, share=3)
    assert [memory.use("greedy", str(n), 40 * n) for n in range(3)] == ["fresh"] * 3
    assert [memory.use("greedy", str(n), 80.1) for n in (3, 4)] == ["fresh", "full"]
