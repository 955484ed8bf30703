// A counter with enable: small enough that both simulators compile it in seconds.
module counter #(parameter WIDTH = 4) (
    input wire clk,
    input wire rst,
    input wire enable,
    output reg [WIDTH-1:0] count
);
    always @(posedge clk)
        if (rst) count <= 0;
        else if (enable) count <= count + 1'b1;
endmodule
