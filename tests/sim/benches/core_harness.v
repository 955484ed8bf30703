// A core and a recorder of its stream `rdata`: a memory that the host reads is at hand as one number, and
// the bench need not wake up in every cycle of it. The recorder stands still in `pauses` of 256 cycles.

module core_harness #(parameter ELEMENTS = 1) (
    input clk, input rst,
    input [15:0] entries_payload, input entries_valid, output entries_ready,
    input [36:0] access_payload, input access_valid, output access_ready,
    input [31:0] wdata_payload, input wdata_valid, output wdata_ready,
    output [31:0] results_payload, output results_valid, input results_ready,
    output idle, output fault,
    input [7:0] pauses, input clear,
    output reg [31:0] count, output reg [32 * ELEMENTS - 1:0] record
);
    wire [31:0] rdata_payload;
    wire rdata_valid;
    reg rdata_ready = 1;
    reg [31:0] random = 1;

    relif_core core (
        .clk(clk), .rst(rst),
        .entries_payload(entries_payload), .entries_valid(entries_valid), .entries_ready(entries_ready),
        .access_payload(access_payload), .access_valid(access_valid), .access_ready(access_ready),
        .wdata_payload(wdata_payload), .wdata_valid(wdata_valid), .wdata_ready(wdata_ready),
        .rdata_payload(rdata_payload), .rdata_valid(rdata_valid), .rdata_ready(rdata_ready),
        .results_payload(results_payload), .results_valid(results_valid), .results_ready(results_ready),
        .idle(idle), .fault(fault), .profile_opcode(), .profile_issue()
    );

    initial count = 0;
    always @(posedge clk) begin
        random <= random[0] ? (random >> 1) ^ 32'h80200003 : random >> 1;
        rdata_ready <= random[7:0] >= pauses;
        if (clear) begin
            count <= 0;
        end else if (rdata_valid && rdata_ready) begin
            count <= count + 1;
            record[32 * count +: 32] <= rdata_payload;
        end
    end
endmodule
