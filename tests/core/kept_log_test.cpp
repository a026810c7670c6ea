#include <fanfare/core/kept_log.hpp>

#include <gtest/gtest.h>

namespace fanfare::test {
namespace {

TEST(KeptTicketTest, NamesAllChangesThatWereAdded) {
  KeptTicket ticket;
  EXPECT_FALSE(ticket);
  ticket.add(0);
  EXPECT_FALSE(ticket) << "of nothing";
  ticket.add(7);
  EXPECT_EQ(ticket, (KeptTicket{7, 7}));
  ticket.add(5);
  ticket.add(9);
  EXPECT_EQ(ticket, (KeptTicket{5, 9}));
  EXPECT_TRUE(ticket);
}

}  // namespace
}  // namespace fanfare::test
