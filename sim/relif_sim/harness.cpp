// The simulated board: runs the Verilated device between two byte buffers.
//
// `rx.ready` of the device depends on its registers only, so that two evaluations make a cycle: one
// for the clock's edge, one that settles the outputs with the next input byte. With BOTH_EDGES the
// device takes either edge of the clock for one, and the second evaluation falls away where no
// input has changed.

#include "Vrelif.h"
#include "verilated.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int OPCODES = 16;
#ifdef BOTH_EDGES
constexpr bool EITHER_EDGE = true;
#else
constexpr bool EITHER_EDGE = false;
#endif

// One direction of a serial line, on which a byte takes `byte / rate` cycles. Times count 1 / rate cycles.
struct Line {
    uint64_t byte = 0, rate = 0;
    uint64_t end = 0;   // of the byte on the line, or of the last one
    bool busy = false;

    // A byte follows the last one at once if that ended less than a cycle ago.
    void begin(uint64_t cycle) {
        const uint64_t now = cycle * rate;
        end = (now < end + rate ? end : now) + byte;
        busy = true;
    }
    bool due(uint64_t cycle) const { return cycle * rate >= end; }
};

// What the design leaves undefined is random where Verilator was told to keep it so, and the same in each run.
VerilatedContext* seeded(VerilatedContext& context) {
    context.randReset(2);
    context.randSeed(1);
    return &context;
}

struct Board {
    Line lines[2];      // to the device, from it
    uint8_t leaving = 0;
    VerilatedContext context;
    Vrelif device;
    uint64_t cycles = 0;
    uint64_t opcode_cycles[OPCODES] = {};
    uint64_t opcode_issues[OPCODES] = {};

    Board() : device{seeded(context)} {}
};

}  // namespace

double sc_time_stamp() { return 0; }

EXPORT Board* relif_create() {
    Board* board = new Board;
    Vrelif& device = board->device;
    device.rx_valid = 0;
    device.tx_ready = 1;
    device.clk = 0;
    device.eval();
    return board;
}

EXPORT void relif_destroy(Board* board) {
    board->device.final();
    delete board;
}

// Runs until all of `rx` is taken and the device is idle (or waits for an acknowledgement), until `tx`
// is full, or for `max_cycles`. Stores the bytes taken and made; returns 1 if the device is at rest.
template <bool LIMITED>
static bool step(Board* board, const uint8_t* rx, size_t rx_size, size_t* taken, uint8_t* tx,
                 size_t tx_size, size_t* made, uint64_t max_cycles) {
    Vrelif& device = board->device;
    Line& in_line = board->lines[0];
    Line& out_line = board->lines[1];
    size_t in = 0, out = 0;
    uint64_t cycle = 0;
    bool rest = false;
    const auto offer = [&] {
        device.rx_valid = in != rx_size;
        if (LIMITED && in != rx_size) {
            if (!in_line.busy) in_line.begin(board->cycles + cycle);
            device.rx_valid = in_line.due(board->cycles + cycle);
        }
        if (in != rx_size) device.rx_payload = rx[in];
    };
    offer();
    if (LIMITED) device.tx_ready = !out_line.busy || out_line.due(board->cycles);
    device.eval();
    while (cycle < max_cycles && out < tx_size) {
        if (LIMITED && out_line.busy && out_line.due(board->cycles + cycle)) {
            tx[out++] = board->leaving;
            out_line.busy = false;
        }
        rest = in == rx_size && (device.idle | device.waiting) && !device.tx_valid && !(LIMITED && out_line.busy);
        if (rest) break;
        const unsigned opcode = device.profile_opcode & (OPCODES - 1);
        board->opcode_cycles[opcode]++;
        board->opcode_issues[opcode] += device.profile_issue;
        if (LIMITED) {
            if (device.tx_valid && device.tx_ready) {
                board->leaving = device.tx_payload;
                out_line.begin(board->cycles + cycle);
            }
        } else if (device.tx_valid) {
            tx[out++] = device.tx_payload;
        }
        const bool accepted = device.rx_valid && device.rx_ready;
        cycle++;
        device.clk = EITHER_EDGE ? !device.clk : 1;
        device.eval();
        if (accepted) {
            in++;
            if (LIMITED) {              // what waits on the host's side follows at once
                in_line.busy = in != rx_size;
                if (in_line.busy) in_line.end += in_line.byte;
            }
        }
        if (LIMITED || accepted) offer();
        if (LIMITED) device.tx_ready = !out_line.busy || out_line.due(board->cycles + cycle);
        if (!EITHER_EDGE) device.clk = 0;
        if (!EITHER_EDGE || LIMITED || accepted) device.eval();
    }
    board->cycles += cycle;
    *taken = in;
    *made = out;
    return rest;
}

EXPORT int relif_step(Board* board, const uint8_t* rx, size_t rx_size, size_t* taken, uint8_t* tx,
                      size_t tx_size, size_t* made, uint64_t max_cycles) {
    if (board->lines[0].rate) return step<true>(board, rx, rx_size, taken, tx, tx_size, made, max_cycles);
    return step<false>(board, rx, rx_size, taken, tx, tx_size, made, max_cycles);
}

// From now on a byte takes byte / rate cycles in each direction.
EXPORT void relif_limit(Board* board, uint64_t byte, uint64_t rate) {
    for (Line& line : board->lines) line = Line{byte, rate};
}

// Writes total cycles, then cycles by opcode, then issues by opcode: 1 + 2 * 16 numbers.
EXPORT void relif_profile(const Board* board, uint64_t* numbers) {
    numbers[0] = board->cycles;
    std::memcpy(numbers + 1, board->opcode_cycles, sizeof board->opcode_cycles);
    std::memcpy(numbers + 1 + OPCODES, board->opcode_issues, sizeof board->opcode_issues);
}
