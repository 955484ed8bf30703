// A USB device's UTMI bus: plays a host's packets with the timing of the bus and records the answers.
//
// Time is counted in cycles of the clock `usb`; `sync` runs beside it at a rational multiple. A packet takes
// its SYNC, eight bit times a byte and its EOP; stuffed bits are left out. Before each transaction a
// start-of-frame packet is sent if one is due, or if the transaction would run into the next one.

#include "Vrelif.h"
#include "verilated.h"

#include <cstddef>
#include <cstdint>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

constexpr uint8_t SE0 = 0, J = 1, K = 2;
constexpr uint8_t CHIRP = 2;                // op_mode

struct Bus {
    VerilatedContext context;
    Vrelif device;
    uint64_t cycles = 0;                    // of usb
    uint64_t sync_numerator, sync_denominator, phase = 0;
    uint64_t fs_byte;                       // cycles of eight bit times at full speed
    const uint8_t* sofs;                    // 2048 packets of three bytes
    uint64_t frame = 0, next_frame = 0;
    bool framing = false;
    bool high_speed = false;
    bool plugged = true;
    uint8_t tx_last = 0;

    Bus() : device{&context} {}

    uint64_t bytes(uint64_t eighths) const {        // cycles of so many bit times
        const uint64_t byte = high_speed ? 1 : fs_byte;
        return (eighths * byte + 7) / 8;
    }
    uint64_t frame_cycles() const { return high_speed ? 7500 : fs_byte * 1500; }
    uint64_t sync_cycles() const { return high_speed ? bytes(32) : bytes(8); }
    uint64_t eop_cycles() const { return high_speed ? bytes(8) : bytes(3); }
    uint64_t between_packets() const { return high_speed ? bytes(88) : bytes(4); }
    uint64_t timeout() const { return high_speed ? 102 : bytes(18) + 8; }

    void cycle() {
        phase += sync_numerator;
        while (phase >= sync_denominator) {
            phase -= sync_denominator;
            device.sync_clk = 1;
            device.eval();
            device.sync_clk = 0;
            device.eval();
        }
        device.usb_clk = 1;
        device.eval();
        device.usb_clk = 0;
        device.eval();
        cycles++;
    }
    void quiet(uint64_t count) {
        device.line_state = plugged ? (high_speed ? SE0 : J) : SE0;
        while (count--) cycle();
    }

    void send(const uint8_t* packet, size_t size) {
        const uint64_t byte = bytes(8);
        device.line_state = K;
        for (uint64_t n = sync_cycles(); n; n--) {
            device.rx_active = n == 1;      // the receiver has found the SYNC
            cycle();
        }
        for (size_t n = 0; n < size; n++) {
            for (uint64_t wait = 1; wait < byte; wait++) cycle();
            device.rx_valid = 1;
            device.rx_data = packet[n];
            cycle();
            device.rx_valid = 0;
        }
        device.line_state = SE0;
        for (uint64_t n = eop_cycles(); n; n--) cycle();
        device.rx_active = 0;
        quiet(1);
    }

    // The device's packet: its size, or -1 if it stays silent.
    int64_t receive(uint8_t* packet, size_t size) {
        for (uint64_t n = 0; !device.tx_valid; n++) {
            if (n == timeout()) return -1;
            quiet(1);
        }
        const uint64_t byte = bytes(8);
        int64_t count = 0;
        device.line_state = K;
        for (uint64_t n = sync_cycles(); n; n--) cycle();
        while (device.tx_valid) {
            for (uint64_t wait = 1; wait < byte; wait++) cycle();
            device.tx_ready = 1;
            device.eval();
            if (count < static_cast<int64_t>(size)) packet[count] = device.tx_data;
            count++;
            cycle();
            device.tx_ready = 0;
            device.eval();
        }
        quiet(eop_cycles());
        return count;
    }

    void start_frame() {
        frame = (frame + 1) & 0xFFFF;
        const uint64_t number = (high_speed ? frame >> 3 : frame) & 0x7FF;
        send(sofs + 3 * number, 3);
        quiet(between_packets());
        next_frame += frame_cycles();
    }
    // Idle, with frames beginning on time.
    void run(uint64_t count) {
        const uint64_t end = cycles + count;
        while (cycles < end) {
            if (!framing) {
                quiet(end - cycles);
            } else if (next_frame <= cycles) {
                start_frame();
            } else {
                const uint64_t until = next_frame < end ? next_frame : end;
                quiet(until - cycles);
            }
        }
    }
    // Waits until so many bytes fit into the frame.
    void reserve(uint64_t count, uint64_t packets) {
        const uint64_t cost = bytes(8) * count + packets * (sync_cycles() + eop_cycles() + between_packets());
        if (!framing) return;
        if (cycles + cost > next_frame) run(next_frame > cycles ? next_frame - cycles : 1);
        while (next_frame <= cycles) start_frame();
    }
};

}  // namespace

double sc_time_stamp() { return 0; }

EXPORT Bus* usb_create(uint64_t sync_numerator, uint64_t sync_denominator, uint64_t fs_byte, const uint8_t* sofs) {
    Bus* bus = new Bus;
    bus->sync_numerator = sync_numerator;
    bus->sync_denominator = sync_denominator;
    bus->fs_byte = fs_byte;
    bus->sofs = sofs;
    Vrelif& device = bus->device;
    device.usb_clk = device.sync_clk = 0;
    device.rx_active = device.rx_valid = device.rx_data = 0;
    device.tx_ready = 0;
    device.session_end = 0;
    device.mode = 0;
    device.line_state = J;
    device.eval();
    bus->quiet(100);
    return bus;
}

EXPORT void usb_destroy(Bus* bus) {
    bus->device.final();
    delete bus;
}

EXPORT void usb_mode(Bus* bus, uint8_t mode) { bus->device.mode = mode; }

// In or out of the socket.
EXPORT void usb_plug(Bus* bus, int plugged) {
    bus->plugged = plugged;
    bus->framing = bus->framing && plugged;
    bus->high_speed = bus->high_speed && plugged;
    bus->device.session_end = !plugged;
    bus->quiet(1000);
}

// A reset of the bus, with a host that does high speed or not. Returns whether the device is at high speed.
EXPORT int usb_reset(Bus* bus, uint64_t cycles, int high_speed) {
    Vrelif& device = bus->device;
    const uint64_t chirp = 8 * bus->fs_byte * 8;        // cycles of a host's chirp K or J: more than 40 us
    bool chirped = false;
    uint64_t since = 0;
    bus->framing = bus->high_speed = false;
    device.rx_active = device.rx_valid = device.tx_ready = 0;
    for (uint64_t n = 0; n < cycles; n++) {
        if (device.op_mode == CHIRP && device.tx_valid) {
            device.line_state = K;
            device.tx_ready = 1;
            chirped = true;
            since = 0;
        } else if (chirped && high_speed && ++since > chirp) {
            device.line_state = since / chirp & 1 ? K : J;
            device.tx_ready = 0;
        } else {
            device.line_state = SE0;
            device.tx_ready = 0;
        }
        bus->cycle();
    }
    device.tx_ready = 0;
    bus->high_speed = device.xcvr_select == 0 && device.op_mode == 0;
    bus->quiet(1000);
    bus->framing = true;
    bus->next_frame = bus->cycles;
    return bus->high_speed;
}

EXPORT void usb_run(Bus* bus, uint64_t cycles) { bus->run(cycles); }

// One transaction: token, data if there is any, the device's answer, and `handshake` if that is data.
// Returns the size of the answer, -1 if there is none. `data_size` < 0: no data packet; then `expected`
// bytes of data may come.
EXPORT int64_t usb_transact(Bus* bus, const uint8_t* token, size_t token_size, const uint8_t* data,
                            int64_t data_size, uint8_t* reply, size_t reply_size, size_t expected,
                            const uint8_t* handshake, size_t handshake_size) {
    bus->reserve(token_size + (data_size < 0 ? expected : data_size) + 1, 3);
    bus->send(token, token_size);
    if (data_size >= 0) {
        bus->quiet(bus->between_packets());
        bus->send(data, data_size);
    }
    const int64_t size = bus->receive(reply, reply_size);
    if (size > 0 && (reply[0] & 3) == 3 && handshake_size) {
        bus->quiet(bus->between_packets());
        bus->send(handshake, handshake_size);
    }
    bus->quiet(bus->between_packets());
    return size;
}

// A packet alone, as an error on the line makes it; no answer is waited for.
EXPORT void usb_send(Bus* bus, const uint8_t* packet, size_t size) {
    bus->reserve(size, 1);
    bus->send(packet, size);
    bus->quiet(bus->between_packets());
}

EXPORT uint64_t usb_cycles(const Bus* bus) { return bus->cycles; }

// Bit 0: the device has nothing to do; bit 1: a host has configured it; bit 2: it drives the bus.
EXPORT int usb_state(const Bus* bus) {
    return bus->device.idle | bus->device.configured << 1 | bus->device.tx_valid << 2;
}
