// What a host app does with its Prisma client: list, create, find by person and provider, delete. One JSON line.
// DATABASE_URL: as the host app has it, a role that row-level security does not filter. PERSON_ID: a person without libre.
import { PrismaPg } from "@prisma/adapter-pg";
import prismaClient from "@prisma/client";

const personId = process.env.PERSON_ID;
const adapter = new PrismaPg({ connectionString: process.env.DATABASE_URL });
const prisma = new prismaClient.PrismaClient({ adapter });
try {
  const listed = await prisma.cGMConnection.findMany({ include: { person: true }, orderBy: { id: "asc" } });
  const created = await prisma.cGMConnection.create({
    data: {
      personId,
      provider: "libre",
      accessToken: "sealed",
      refreshToken: "sealed",
      tokenExpiresAt: new Date("2026-01-02T03:04:05.678Z"),
      metadata: { region: "eu" },
      glucoseReadings: { create: { personId, timestamp: new Date("2026-01-01T00:00:00Z"), value: 100, source: "cgm" } },
    },
  });
  const found = await prisma.cGMConnection.findUnique({
    where: { personId_provider: { personId, provider: "libre" } },
    include: { glucoseReadings: true },
  });
  const changed = await prisma.cGMConnection.update({ where: { id: created.id }, data: { status: "error" } });
  await prisma.cGMConnection.delete({ where: { id: created.id } });
  const left = await prisma.glucoseReading.findUnique({ where: { id: found.glucoseReadings[0].id } });
  console.log(
    JSON.stringify({
      listed: listed.map((one) => [one.id, one.provider, one.person.id]),
      found: found.id === created.id,
      expires: found.tokenExpiresAt,
      metadata: found.metadata,
      readings: found.glucoseReadings.length,
      changed: changed.status,
      left: left.cgmConnectionId,
    }),
  );
} finally {
  await prisma.$disconnect();
}
