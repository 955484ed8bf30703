// Models of the ECP5 cells that are black boxes in Yosys's library: block RAM and multiplier.
//
// They do what the documents say for the modes that Yosys's memory and multiplier mapping uses. Any other mode ends the
// compilation or the simulation with $fatal; pins and parameters that no such mode uses are missing, so that a netlist
// which has them is refused.
//
// DP16KD: Lattice TN1264, "ECP5 and ECP5-5G Memory Usage Guide": true dual-port RAM with ports of 9 and 18 bits, pseudo
// dual-port RAM of 36; byte enables; write modes.
// MULT18X18D: Lattice TN1267, "ECP5 and ECP5-5G sysDSP Usage Guide".

// 1024 words of 18 bits, each two bytes of 9. An address counts single bits: a word of 9 is at [13:3], one of 18 at
// [13:4], one of 36 at [13:5]; in the bits below a port that writes 18 or 36 takes its byte enables. There is no output
// register (REGMODE NOREG, so that OCE does nothing), no reset, and no global set and reset in the simulation (GSR).
// Of 36 bits A writes alone, and B reads alone: data are {B, A} on either side.
module DP16KD(
    input CLKA, CEA, OCEA, WEA, RSTA, CSA0, CSA1, CSA2,
    input ADA0, ADA1, ADA2, ADA3, ADA4, ADA5, ADA6, ADA7, ADA8, ADA9, ADA10, ADA11, ADA12, ADA13,
    input DIA0, DIA1, DIA2, DIA3, DIA4, DIA5, DIA6, DIA7, DIA8,
    input DIA9, DIA10, DIA11, DIA12, DIA13, DIA14, DIA15, DIA16, DIA17,
    output DOA0, DOA1, DOA2, DOA3, DOA4, DOA5, DOA6, DOA7, DOA8,
    output DOA9, DOA10, DOA11, DOA12, DOA13, DOA14, DOA15, DOA16, DOA17,
    input CLKB, CEB, OCEB, WEB, RSTB, CSB0, CSB1, CSB2,
    input ADB0, ADB1, ADB2, ADB3, ADB4, ADB5, ADB6, ADB7, ADB8, ADB9, ADB10, ADB11, ADB12, ADB13,
    input DIB0, DIB1, DIB2, DIB3, DIB4, DIB5, DIB6, DIB7, DIB8,
    input DIB9, DIB10, DIB11, DIB12, DIB13, DIB14, DIB15, DIB16, DIB17,
    output DOB0, DOB1, DOB2, DOB3, DOB4, DOB5, DOB6, DOB7, DOB8,
    output DOB9, DOB10, DOB11, DOB12, DOB13, DOB14, DOB15, DOB16, DOB17
);
    parameter [319:0] INITVAL_00 = 0, INITVAL_01 = 0, INITVAL_02 = 0, INITVAL_03 = 0;
    parameter [319:0] INITVAL_04 = 0, INITVAL_05 = 0, INITVAL_06 = 0, INITVAL_07 = 0;
    parameter [319:0] INITVAL_08 = 0, INITVAL_09 = 0, INITVAL_0A = 0, INITVAL_0B = 0;
    parameter [319:0] INITVAL_0C = 0, INITVAL_0D = 0, INITVAL_0E = 0, INITVAL_0F = 0;
    parameter [319:0] INITVAL_10 = 0, INITVAL_11 = 0, INITVAL_12 = 0, INITVAL_13 = 0;
    parameter [319:0] INITVAL_14 = 0, INITVAL_15 = 0, INITVAL_16 = 0, INITVAL_17 = 0;
    parameter [319:0] INITVAL_18 = 0, INITVAL_19 = 0, INITVAL_1A = 0, INITVAL_1B = 0;
    parameter [319:0] INITVAL_1C = 0, INITVAL_1D = 0, INITVAL_1E = 0, INITVAL_1F = 0;
    parameter [319:0] INITVAL_20 = 0, INITVAL_21 = 0, INITVAL_22 = 0, INITVAL_23 = 0;
    parameter [319:0] INITVAL_24 = 0, INITVAL_25 = 0, INITVAL_26 = 0, INITVAL_27 = 0;
    parameter [319:0] INITVAL_28 = 0, INITVAL_29 = 0, INITVAL_2A = 0, INITVAL_2B = 0;
    parameter [319:0] INITVAL_2C = 0, INITVAL_2D = 0, INITVAL_2E = 0, INITVAL_2F = 0;
    parameter [319:0] INITVAL_30 = 0, INITVAL_31 = 0, INITVAL_32 = 0, INITVAL_33 = 0;
    parameter [319:0] INITVAL_34 = 0, INITVAL_35 = 0, INITVAL_36 = 0, INITVAL_37 = 0;
    parameter [319:0] INITVAL_38 = 0, INITVAL_39 = 0, INITVAL_3A = 0, INITVAL_3B = 0;
    parameter [319:0] INITVAL_3C = 0, INITVAL_3D = 0, INITVAL_3E = 0, INITVAL_3F = 0;
    parameter DATA_WIDTH_A = 18, DATA_WIDTH_B = 18;
    parameter REGMODE_A = "NOREG", REGMODE_B = "NOREG";
    parameter CSDECODE_A = "0b000", CSDECODE_B = "0b000";
    parameter WRITEMODE_A = "NORMAL", WRITEMODE_B = "NORMAL";
    parameter CLKAMUX = "CLKA", CLKBMUX = "CLKB";
    parameter RESETMODE = "SYNC", ASYNC_RESET_RELEASE = "SYNC", GSR = "ENABLED";

    localparam WIDE = DATA_WIDTH_A == 36 || DATA_WIDTH_B == 36;

    generate
        if (DATA_WIDTH_A != 9 && DATA_WIDTH_A != 18 && DATA_WIDTH_A != 36)
            $fatal(1, "DP16KD: DATA_WIDTH_A %0d is not modelled", DATA_WIDTH_A);
        if (DATA_WIDTH_B != 9 && DATA_WIDTH_B != 18 && DATA_WIDTH_B != 36)
            $fatal(1, "DP16KD: DATA_WIDTH_B %0d is not modelled", DATA_WIDTH_B);
        if (REGMODE_A != "NOREG" || REGMODE_B != "NOREG")
            $fatal(1, "DP16KD: output registers are not modelled");
        if (CSDECODE_A != "0b000" || CSDECODE_B != "0b000")
            $fatal(1, "DP16KD: no CSDECODE but 0b000 is modelled");
        if (CLKAMUX != "CLKA" || CLKBMUX != "CLKB")
            $fatal(1, "DP16KD: inverted clocks are not modelled");
        if (!WIDE && WRITEMODE_A != "NORMAL" && WRITEMODE_A != "READBEFOREWRITE")
            $fatal(1, "DP16KD: this WRITEMODE_A is not modelled");
        if (!WIDE && WRITEMODE_B != "NORMAL" && WRITEMODE_B != "READBEFOREWRITE")
            $fatal(1, "DP16KD: this WRITEMODE_B is not modelled");
    endgenerate

    reg [17:0] memory [0:1023];
    wire [20479:0] start = {
        INITVAL_3F, INITVAL_3E, INITVAL_3D, INITVAL_3C, INITVAL_3B, INITVAL_3A, INITVAL_39, INITVAL_38,
        INITVAL_37, INITVAL_36, INITVAL_35, INITVAL_34, INITVAL_33, INITVAL_32, INITVAL_31, INITVAL_30,
        INITVAL_2F, INITVAL_2E, INITVAL_2D, INITVAL_2C, INITVAL_2B, INITVAL_2A, INITVAL_29, INITVAL_28,
        INITVAL_27, INITVAL_26, INITVAL_25, INITVAL_24, INITVAL_23, INITVAL_22, INITVAL_21, INITVAL_20,
        INITVAL_1F, INITVAL_1E, INITVAL_1D, INITVAL_1C, INITVAL_1B, INITVAL_1A, INITVAL_19, INITVAL_18,
        INITVAL_17, INITVAL_16, INITVAL_15, INITVAL_14, INITVAL_13, INITVAL_12, INITVAL_11, INITVAL_10,
        INITVAL_0F, INITVAL_0E, INITVAL_0D, INITVAL_0C, INITVAL_0B, INITVAL_0A, INITVAL_09, INITVAL_08,
        INITVAL_07, INITVAL_06, INITVAL_05, INITVAL_04, INITVAL_03, INITVAL_02, INITVAL_01, INITVAL_00
    };
    integer word;
    initial for (word = 0; word < 1024; word = word + 1) memory[word] = start[20 * word +: 18];

    wire [13:0] address_a = {ADA13, ADA12, ADA11, ADA10, ADA9, ADA8, ADA7, ADA6, ADA5, ADA4, ADA3, ADA2, ADA1, ADA0};
    wire [13:0] address_b = {ADB13, ADB12, ADB11, ADB10, ADB9, ADB8, ADB7, ADB6, ADB5, ADB4, ADB3, ADB2, ADB1, ADB0};
    wire [17:0] in_a = {DIA17, DIA16, DIA15, DIA14, DIA13, DIA12, DIA11, DIA10, DIA9,
                        DIA8, DIA7, DIA6, DIA5, DIA4, DIA3, DIA2, DIA1, DIA0};
    wire [17:0] in_b = {DIB17, DIB16, DIB15, DIB14, DIB13, DIB12, DIB11, DIB10, DIB9,
                        DIB8, DIB7, DIB6, DIB5, DIB4, DIB3, DIB2, DIB1, DIB0};
    reg [17:0] out_a, out_b;
    assign {DOA17, DOA16, DOA15, DOA14, DOA13, DOA12, DOA11, DOA10, DOA9,
            DOA8, DOA7, DOA6, DOA5, DOA4, DOA3, DOA2, DOA1, DOA0} = out_a;
    assign {DOB17, DOB16, DOB15, DOB14, DOB13, DOB12, DOB11, DOB10, DOB9,
            DOB8, DOB7, DOB6, DOB5, DOB4, DOB3, DOB2, DOB1, DOB0} = out_b;

    wire on_a = CEA && {CSA2, CSA1, CSA0} == 0, on_b = CEB && {CSB2, CSB1, CSB0} == 0;
    // Bytes that a port writes, of the word of 18 bits, or of two words.
    wire [3:0] write_a = !(on_a && WEA) ? 0 : DATA_WIDTH_A == 36 ? address_a[3:0] :
                         DATA_WIDTH_A == 18 ? {2'b0, address_a[1:0]} : {2'b0, address_a[3], !address_a[3]};
    wire [1:0] write_b = !(on_b && WEB) ? 0 : DATA_WIDTH_B == 18 ? address_b[1:0] : {address_b[3], !address_b[3]};
    wire [9:0] word_a = DATA_WIDTH_A == 36 ? {address_a[13:5], 1'b0} : address_a[13:4];
    wire [9:0] word_b = DATA_WIDTH_B == 36 ? {address_b[13:5], 1'b0} : address_b[13:4];
    wire [17:0] old_a = memory[word_a], old_b = memory[word_b], next_b = memory[{word_b[9:1], 1'b1}];
    // Both ports in one word (or pair of words, if either is wide), and one of them writes: what is read is undefined.
    wire meet = on_a && on_b && (write_a != 0 || write_b != 0) && word_a[9:1] == word_b[9:1]
                && (WIDE || word_a[0] == word_b[0]);

    function [17:0] read(input integer width, input high, input [17:0] value);
        read = width == 9 ? {9'b0, high ? value[17:9] : value[8:0]} : value;
    endfunction

    always @(posedge CLKA) begin
        if (RSTA) $fatal(1, "DP16KD: a reset is not modelled");
        if (on_a && DATA_WIDTH_A == 36 && !WEA) $fatal(1, "DP16KD: port A of 36 bits that reads is not modelled");
        if (on_b && CLKB != CLKA) $fatal(1, "DP16KD: two clocks are not modelled");
        if (write_a[0]) memory[word_a][8:0] <= in_a[8:0];
        if (write_a[1]) memory[word_a][17:9] <= DATA_WIDTH_A == 9 ? in_a[8:0] : in_a[17:9];
        if (write_a[2]) memory[word_a | 10'd1][8:0] <= in_b[8:0];
        if (write_a[3]) memory[word_a | 10'd1][17:9] <= in_b[17:9];
        // Of 36 bits that B reads, these are the lower ones.
        if (DATA_WIDTH_B != 36 && on_a && (!WEA || WRITEMODE_A == "READBEFOREWRITE"))
            out_a <= meet ? 18'bx : read(DATA_WIDTH_A, address_a[3], old_a);
        if (DATA_WIDTH_B == 36 && on_b)
            out_a <= meet ? 18'bx : old_b;
    end

    always @(posedge CLKB) begin
        if (RSTB) $fatal(1, "DP16KD: a reset is not modelled");
        if (on_b && DATA_WIDTH_B == 36 && WEB) $fatal(1, "DP16KD: port B of 36 bits that writes is not modelled");
        if (on_b && CLKA != CLKB) $fatal(1, "DP16KD: two clocks are not modelled");
        if (write_a != 0 && write_b != 0 && meet) $fatal(1, "DP16KD: both ports write the same word");
        if (write_b[0]) memory[word_b][8:0] <= in_b[8:0];
        if (write_b[1]) memory[word_b][17:9] <= DATA_WIDTH_B == 9 ? in_b[8:0] : in_b[17:9];
        if (on_b && (!WEB || WRITEMODE_B == "READBEFOREWRITE"))
            out_b <= meet ? 18'bx : DATA_WIDTH_B == 36 ? next_b : read(DATA_WIDTH_B, address_b[3], old_b);
    end
endmodule

// Without registers, its operands from the fabric: P = A x B, each signed or not.
module MULT18X18D(
    input A0, A1, A2, A3, A4, A5, A6, A7, A8, A9, A10, A11, A12, A13, A14, A15, A16, A17,
    input B0, B1, B2, B3, B4, B5, B6, B7, B8, B9, B10, B11, B12, B13, B14, B15, B16, B17,
    input C0, C1, C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12, C13, C14, C15, C16, C17,
    input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB,
    output P0, P1, P2, P3, P4, P5, P6, P7, P8, P9, P10, P11, P12, P13, P14, P15, P16, P17,
    output P18, P19, P20, P21, P22, P23, P24, P25, P26, P27, P28, P29, P30, P31, P32, P33, P34, P35
);
    wire [17:0] a = {A17, A16, A15, A14, A13, A12, A11, A10, A9, A8, A7, A6, A5, A4, A3, A2, A1, A0};
    wire [17:0] b = {B17, B16, B15, B14, B13, B12, B11, B10, B9, B8, B7, B6, B5, B4, B3, B2, B1, B0};
    wire signed [35:0] wide_a = {{18{SIGNEDA & a[17]}}, a}, wide_b = {{18{SIGNEDB & b[17]}}, b};
    assign {P35, P34, P33, P32, P31, P30, P29, P28, P27, P26, P25, P24, P23, P22, P21, P20, P19, P18,
            P17, P16, P15, P14, P13, P12, P11, P10, P9, P8, P7, P6, P5, P4, P3, P2, P1, P0} = wide_a * wide_b;
    always @(*) if (SOURCEA || SOURCEB) $fatal(1, "MULT18X18D: operands from a neighbour are not modelled");
endmodule
