// The simulated board: runs the Verilated device between two byte buffers.
//
// `rx.ready` of the device depends on its registers only, so that two evaluations make a cycle: one
// for the clock's edge, one that settles the outputs with the next input byte.

#include "Vrelif.h"
#include "verilated.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr int OPCODES = 16;

struct Board {
    VerilatedContext context;
    Vrelif device;
    uint64_t cycles = 0;
    uint64_t opcode_cycles[OPCODES] = {};
    uint64_t opcode_issues[OPCODES] = {};

    Board() : device{&context} {}
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
EXPORT int relif_step(Board* board, const uint8_t* rx, size_t rx_size, size_t* taken, uint8_t* tx,
                      size_t tx_size, size_t* made, uint64_t max_cycles) {
    Vrelif& device = board->device;
    size_t in = 0, out = 0;
    uint64_t cycle = 0;
    bool rest = false;
    device.rx_valid = rx_size != 0;
    if (rx_size) device.rx_payload = rx[0];
    device.eval();
    while (cycle < max_cycles && out < tx_size) {
        rest = in == rx_size && (device.idle | device.waiting) && !device.tx_valid;
        if (rest) break;
        const unsigned opcode = device.profile_opcode & (OPCODES - 1);
        board->opcode_cycles[opcode]++;
        board->opcode_issues[opcode] += device.profile_issue;
        if (device.tx_valid) tx[out++] = device.tx_payload;
        const bool accepted = device.rx_valid && device.rx_ready;
        cycle++;
        device.clk = 1;
        device.eval();
        if (accepted) {
            in++;
            device.rx_valid = in != rx_size;
            if (in != rx_size) device.rx_payload = rx[in];
        }
        device.clk = 0;
        device.eval();
    }
    board->cycles += cycle;
    *taken = in;
    *made = out;
    return rest;
}

// Writes total cycles, then cycles by opcode, then issues by opcode: 1 + 2 * 16 numbers.
EXPORT void relif_profile(const Board* board, uint64_t* numbers) {
    numbers[0] = board->cycles;
    std::memcpy(numbers + 1, board->opcode_cycles, sizeof board->opcode_cycles);
    std::memcpy(numbers + 1 + OPCODES, board->opcode_issues, sizeof board->opcode_issues);
}
