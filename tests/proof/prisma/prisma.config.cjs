module.exports = { schema: "schema.prisma" };
